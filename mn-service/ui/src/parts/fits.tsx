import { Alert, Form, type FormInstance } from 'antd';
import { useQuery } from '@tanstack/react-query';
import { call } from '../api/client';
import { useSpeech } from '../i18n/context';
import { parseBytes } from './format';

/** More hosts than this are not explained one by one. */
const EXPLAINED = 10;

/** Tells while a VM is described whether a host has room for it, and for each other host why not (F-570). */
export function Fits({ form }: { form: FormInstance }) {
  const { t } = useSpeech();
  const image = Form.useWatch<string | undefined>('imageUuid', form);
  const offering = Form.useWatch<string | undefined>('instanceOfferingUuid', form);
  const networks = Form.useWatch<string[] | undefined>('l3NetworkUuids', form);
  const cluster = Form.useWatch<string | undefined>('clusterUuid', form);
  const host = Form.useWatch<string | undefined>('hostUuid', form);
  const group = Form.useWatch<string | undefined>('affinityGroup', form);
  const disk = Form.useWatch<string | undefined>('rootDiskSize', form);
  const ready = Boolean(image && offering && networks && networks.length > 0);
  const { data } = useQuery({
    queryKey: ['fits', image, offering, networks, cluster, host, group, disk],
    enabled: ready,
    retry: false,
    queryFn: () =>
      call('ExplainVmPlacement', {
        imageUuid: image ?? '',
        instanceOfferingUuid: offering,
        l3NetworkUuids: networks ?? [],
        clusterUuid: cluster,
        hostUuid: host,
        rootDiskSize: disk ? parseBytes(disk) : undefined,
        ...(group ? { systemTags: [`affinityGroupUuid::${group}`] } : {}),
      }),
  });
  if (!ready || !data) return null;
  const hosts = data.inventories ?? [];
  const count = hosts.filter((one) => one.fits).length;
  if (count > 0) return <Alert type="success" showIcon message={count === 1 ? t('vm.fitsOne') : t('vm.fits', { count })} />;
  const reasons = (
    <ul className="reasons">
      {hosts.slice(0, EXPLAINED).map((one) => (
        <li key={one.hostUuid}>
          {one.hostName}: {(one.reasons ?? []).join('; ')}
        </li>
      ))}
    </ul>
  );
  return <Alert type="warning" showIcon message={t('vm.fitsNone')} description={reasons} />;
}
