import { Form, Input, InputNumber, Select, Switch, type FormRule } from 'antd';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { Link } from 'react-router-dom';
import { facts, query, type CallName, type ParamFacts } from '../api/client';
import { useSpeech } from '../i18n/context';
import { known, type Translate } from '../i18n/language';
import type { Key } from '../i18n/en';
import { resources } from '../resources';
import { idOf, nameOf, type Field, type Item, type Kind } from '../resources/define';
import { bytes, isAddress, parseBytes } from './format';
import { word } from './state';

/** Label of a field: its own, else that of its name. */
export function labelOf(field: Pick<Field<Item>, 'name' | 'label'>): Key {
  return field.label ?? known(`f.${field.name}`) ?? 'f.name';
}

/** Rules of a field: those of the call's parameter, as the contract states them, and those of the kind of input. */
export function rulesOf(t: Translate, field: Field<Item>, param: ParamFacts | undefined): FormRule[] {
  const rules: FormRule[] = [];
  if (isRequired(field, param)) rules.push({ required: true, message: t('form.required') });
  const { maxLength, range, pattern } = param ?? {};
  if (maxLength && field.input !== 'bytes') rules.push({ max: maxLength, message: t('form.tooLong', { max: maxLength }) });
  if (pattern && field.input !== 'bytes' && field.input !== 'integer') {
    // The contract's patterns are Java's; one that JavaScript cannot read is left to the service.
    try {
      rules.push({ pattern: new RegExp(pattern, 'u'), message: t('form.pattern') });
    } catch {
      return rules;
    }
  }
  if (field.input === 'address') {
    rules.push({
      validator: (_, value: unknown) => (!value || isAddress(String(value)) ? Promise.resolve() : Promise.reject(new Error(t('form.address')))),
    });
  }
  if (field.input === 'bytes') {
    rules.push({
      validator: (_, value: unknown) => {
        if (!value) return Promise.resolve();
        const size = parseBytes(String(value));
        if (size === undefined) return Promise.reject(new Error(t('form.size')));
        const [from = 0, to = Infinity] = range ?? [];
        if (size >= from && size <= to) return Promise.resolve();
        return Promise.reject(new Error(t('form.range', { from: bytes(from), to: bytes(to) })));
      },
    });
  }
  return rules;
}

/** Whether the call or the form cannot do without the field. */
export function isRequired(field: Field<Item>, param: ParamFacts | undefined): boolean {
  return field.required ?? param?.required ?? false;
}

/** What a field shows before anybody typed. */
export function initialOf(field: Field<Item>, item: Item | undefined): unknown {
  const value = typeof field.initial === 'function' ? field.initial(item) : field.initial;
  return field.input === 'bytes' && typeof value === 'number' ? bytes(value) : value;
}

/** Parameters from what was typed: sizes as bytes; what was left empty and was empty is left out. */
export function paramsOf(fields: readonly Field<Item>[], typed: Record<string, unknown>, item: Item | undefined): Record<string, unknown> {
  const params: Record<string, unknown> = {};
  for (const field of fields) {
    const value = typed[field.name];
    const before = initialOf(field, item);
    if (value === undefined || value === null || value === '' || (Array.isArray(value) && value.length === 0)) {
      // Emptied on purpose, as a description may be.
      if (item && before !== undefined && before !== '') params[field.name] = '';
      continue;
    }
    params[field.name] = field.input === 'bytes' ? parseBytes(String(value)) : value;
  }
  return params;
}

/** One field of a form. */
export function FormField({ api, field, item }: { api: CallName; field: Field<Item>; item: Item | undefined }) {
  const { t } = useSpeech();
  const param = facts(api).params[field.name];
  return (
    <Form.Item
      name={field.name}
      label={t(labelOf(field))}
      rules={rulesOf(t, field, param)}
      initialValue={initialOf(field, item)}
      valuePropName={field.input === 'flag' ? 'checked' : 'value'}
    >
      <Control field={field} param={param} item={item} />
    </Form.Item>
  );
}

type Bound = Record<string, unknown>;

/** The input itself; the form hands value and change handler through. */
function Control({ field, param, item, ...bound }: { field: Field<Item>; param: ParamFacts | undefined; item: Item | undefined } & Bound) {
  const { t } = useSpeech();
  const optional = isRequired(field, param) ? undefined : t('form.optional');
  const placeholder = field.hint ?? optional;
  switch (field.input) {
    case 'area':
      return <Input.TextArea rows={2} placeholder={placeholder} {...bound} />;
    case 'password':
      return <Input.Password autoComplete="new-password" placeholder={placeholder} {...bound} />;
    case 'integer': {
      const [min, max] = param?.range ?? [];
      return <InputNumber className="wide" min={min} max={max} precision={0} placeholder={placeholder} {...bound} />;
    }
    case 'flag':
      return <Switch {...bound} />;
    case 'choice': {
      const values = typeof field.values === 'function' ? field.values(item) : (field.values ?? param?.values ?? []);
      const options = values.map((value) => (typeof value === 'string' ? { value, label: word(t, value) } : value));
      return <Select options={options} placeholder={placeholder} {...bound} />;
    }
    case 'resource':
    case 'resources':
      return field.refers ? (
        <ResourceSelect kind={field.refers} only={field.only?.(item) ?? []} several={field.input === 'resources'} placeholder={optional} {...bound} />
      ) : null;
    case 'bytes':
      return <Input placeholder={field.hint ?? optional ?? '20 GiB'} {...bound} />;
    default:
      return <Input placeholder={placeholder} {...bound} />;
  }
}

interface Chosen {
  kind: Kind;
  only: readonly string[];
  several: boolean;
  placeholder: string | undefined;
}

/** Chooses resources; what is typed is searched on the service. */
function ResourceSelect({ kind, only, several, placeholder, ...bound }: Chosen & Bound) {
  const { t } = useSpeech();
  const [search, setSearch] = useState('');
  const resource = resources[kind];
  const conditions = [...(resource.only ?? []), ...only, ...(search ? [`name~=%${search}%`] : [])];
  const { data, isFetching } = useQuery({
    queryKey: ['choices', kind, ...conditions],
    queryFn: () => query(resource.query, { conditions, limit: 100, sort: 'name' }),
  });
  const items = (data?.items ?? []) as Item[];
  return (
    <Select
      {...(several ? { mode: 'multiple' as const } : {})}
      allowClear
      showSearch
      filterOption={false}
      onSearch={setSearch}
      loading={isFetching}
      placeholder={placeholder}
      options={items.map((item) => ({ value: idOf(resource, item), label: nameOf(resource, item) }))}
      notFoundContent={
        isFetching ? null : (
          <span>
            {t('form.noneYet')} <Link to={`/${kind}`}>{t('form.createOne')}</Link>
          </span>
        )
      }
      {...bound}
    />
  );
}
