import type { CallName, QueryName } from '../api/client';
import type { Queries } from '../contract/generated';
import { enums } from '../contract/generated';
import type { Key } from '../i18n/en';

/** Kinds of resources; also the first part of their address in the UI. */
export type Kind =
  | 'vms'
  | 'volumes'
  | 'snapshots'
  | 'images'
  | 'instance-offerings'
  | 'disk-offerings'
  | 'affinity-groups'
  | 'zones'
  | 'clusters'
  | 'hosts'
  | 'primary-storage'
  | 'image-servers'
  | 'l2-networks'
  | 'l3-networks'
  | 'settings'
  | 'audits';

/** How a value is shown. */
export type Shown = 'text' | 'state' | 'bytes' | 'date' | 'moment' | 'duration' | 'number' | 'flag' | 'word' | 'code';

/** A field of a resource, as a column of its list or a line of its details. */
export interface Column<T> {
  field: keyof T & string;
  label?: Key;
  shown?: Shown;
  /** The field names another resource, or a list of them. */
  refers?: Kind;
  /** Values that can be filtered by. */
  values?: keyof typeof enums;
  /** False for what the service cannot sort by. */
  sortable?: boolean;
  /** Text of a value that is not plain. */
  text?: (item: T) => string;
}

/** A field of a form; its rules come from the parameter of the call. */
export interface Field<T> {
  name: string;
  label?: Key;
  input?: 'text' | 'area' | 'password' | 'integer' | 'bytes' | 'choice' | 'resource' | 'resources' | 'flag' | 'address';
  /** Asked for although the call could do without. */
  required?: boolean;
  /** Resources to choose from. */
  refers?: Kind;
  /** Which of them. */
  only?: (item: T | undefined) => string[];
  /** Values to choose from, when they are not those of the parameter. */
  values?: readonly string[] | ((item: T | undefined) => readonly { value: string; label: string }[]);
  initial?: string | number | boolean | ((item: T | undefined) => unknown);
  hint?: string;
}

/** Something that can be done. */
export interface Action<T> {
  key: string;
  label: Key;
  api: CallName;
  /** Resources it is possible for. */
  when?: (item: T) => boolean;
  /** Parameters that nobody is asked for; default: the resource's uuid. */
  params?: (item: T) => Record<string, unknown>;
  fields?: readonly Field<T>[];
  /** Last step from the form's values to parameters. */
  prepare?: (values: Record<string, unknown>, item: T | undefined) => Record<string, unknown> | Promise<Record<string, unknown>>;
  /** Asks before it is done. */
  confirm?: boolean;
  /** It removes something, and how; the service tells with what consequences. */
  removes?: 'recycle' | 'forever' | 'records';
  /** Possible for several at once. */
  batch?: boolean;
  /** Done by a page or dialog of its own. */
  special?: 'console' | 'upload' | 'enrolment';
  /** Looks for hosts with room while the form is filled. */
  fits?: boolean;
}

/** Everything the UI knows of a kind of resource. */
export interface Resource<T> {
  kind: Kind;
  query: QueryName;
  one: Key;
  many: Key;
  columns: readonly Column<T>[];
  details?: readonly Column<T>[];
  /** Conditions that always hold. */
  only?: readonly string[];
  sort?: string;
  /** What tells two of them apart, when that is not `uuid`. */
  key?: readonly (keyof T & string)[];
  /** What a search looks into, when that is not `name`. */
  searched?: keyof T & string;
  name?: (item: T) => string;
  create?: readonly Action<T>[];
  actions: readonly Action<T>[];
  /** Other resources that belong to it. */
  related?: readonly { kind: Kind; conditions: (item: T) => string[] }[];
}

/** Any resource, when it does not matter which. */
export type Item = Record<string, unknown> & { uuid?: string; name?: string };

/** A resource whose type is not looked at. */
export type AnyResource = Resource<Item>;

/** Checks a definition against the type of what its query finds. */
export function define<N extends QueryName>(
  resource: Omit<Resource<Queries[N]>, 'query'> & { query: N },
): AnyResource {
  return resource as unknown as AnyResource;
}

function keyOf(resource: AnyResource): readonly string[] {
  return resource.key ?? ['uuid'];
}

/** Conditions that only the item of an identity fulfils. */
export function conditionsOfId(resource: AnyResource, id: string): string[] {
  const parts = id.split('~');
  return keyOf(resource).map((field, index) => `${field}=${parts[index] ?? ''}`);
}

/** Identity of an item. */
export function idOf(resource: AnyResource, item: Item): string {
  return keyOf(resource).map((field) => String(item[field])).join('~');
}

/** What a person calls an item. */
export function nameOf(resource: AnyResource, item: Item): string {
  return resource.name ? resource.name(item) : String(item.name ?? item.uuid ?? '');
}

interface Named {
  name?: string;
  description?: string;
}

interface Stated {
  uuid?: string;
  state?: string;
}

/** Name and description, which most resources can have changed. */
export const IDENTITY: readonly Field<Named>[] = [
  { name: 'name', initial: (item) => item?.name, required: true },
  { name: 'description', input: 'area', initial: (item) => item?.description },
];

/** Changing name and description. */
export function edit(api: CallName): Action<Named> {
  return { key: 'edit', label: 'a.edit', api, fields: IDENTITY };
}

/** Turning a resource on and off. */
export function states(
  api: CallName,
  events: Readonly<Record<string, { label: Key; from: readonly string[]; confirm?: boolean }>> = {
    enable: { label: 'a.enable', from: ['Disabled'] },
    disable: { label: 'a.disable', from: ['Enabled'] },
  },
): Action<Stated>[] {
  return Object.entries(events).map(([event, { label, from, confirm }]) => ({
    key: event,
    label,
    api,
    when: (item) => from.includes(String(item.state)),
    params: (item) => ({ uuid: item.uuid, stateEvent: event }),
    batch: true,
    ...(confirm ? { confirm } : {}),
  }));
}

export const NAME = { name: 'name' } as const;
export const DESCRIPTION = { name: 'description', input: 'area' } as const;
