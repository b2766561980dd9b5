import type { CallName, QueryName } from '../api/client';
import type { Key } from '../i18n/en';
import { affinityGroups, instanceOfferings, vms } from './compute';
import type { AnyResource, Kind } from './define';
import { audits, backupStorages, clusters, hosts, primaryStorages, settings, zones } from './infrastructure';
import { l2Networks, l3Networks } from './network';
import { diskOfferings, images, snapshots, volumes } from './storage';

/** The menu: groups and what is in them. */
export const groups: readonly { label: Key; resources: readonly AnyResource[] }[] = [
  { label: 'nav.compute', resources: [vms, images, instanceOfferings, affinityGroups] },
  { label: 'nav.storage', resources: [volumes, snapshots, diskOfferings] },
  { label: 'nav.network', resources: [l3Networks, l2Networks] },
  { label: 'nav.infrastructure', resources: [zones, clusters, hosts, primaryStorages, backupStorages] },
  { label: 'nav.system', resources: [settings, audits] },
];

/** Every kind of resource. */
export const resources = Object.fromEntries(
  groups.flatMap((group) => group.resources).map((resource) => [resource.kind, resource]),
) as Record<Kind, AnyResource>;

/** The resource of an address, if there is one. */
export function resourceOf(kind: string | undefined): AnyResource | undefined {
  return kind !== undefined && Object.hasOwn(resources, kind) ? resources[kind as Kind] : undefined;
}

/** Whether the menu has a resource: whoever can do nothing with it sees it where others name it, and no page of it. */
export function isOffered(resource: AnyResource, may: (api: CallName | QueryName) => boolean): boolean {
  const actions = [...(resource.create ?? []), ...resource.actions];
  return may(resource.query) && (actions.length === 0 || actions.some((action) => may(action.api)));
}
