import type { AnyResource } from '../resources/define';

/** Page sizes that can be chosen (PLAT-DASH-031). */
export const SIZES = [10, 20, 50, 100] as const;

/** What a list shows; it lives in the address, so that it survives a reload and can be sent to a colleague. */
export interface Listing {
  page: number;
  size: number;
  sort: string;
  search: string;
  /** Values by field. */
  filters: Readonly<Record<string, readonly string[]>>;
}

const FILTER = 'is.';

/** Reads the address. */
export function listOf(resource: AnyResource, search: URLSearchParams): Listing {
  const size = Number(search.get('size'));
  const fields = resource.columns.filter((column) => column.values).map((column) => column.field);
  const filters = fields.flatMap((field) => {
    const values = search.getAll(FILTER + field);
    return values.length > 0 ? [[field, values]] : [];
  });
  return {
    page: Math.max(Math.trunc(Number(search.get('page'))) || 1, 1),
    size: SIZES.find((one) => one === size) ?? 20,
    sort: search.get('sort') ?? resource.sort ?? '-createDate',
    search: search.get('q') ?? '',
    filters: Object.fromEntries(filters) as Record<string, string[]>,
  };
}

/** Writes the address; what is as usual is left out. */
export function paramsOf(resource: AnyResource, listing: Listing): URLSearchParams {
  const usual = listOf(resource, new URLSearchParams());
  const search = new URLSearchParams();
  if (listing.page !== usual.page) search.set('page', String(listing.page));
  if (listing.size !== usual.size) search.set('size', String(listing.size));
  if (listing.sort !== usual.sort) search.set('sort', listing.sort);
  if (listing.search) search.set('q', listing.search);
  for (const [field, values] of Object.entries(listing.filters)) {
    for (const value of values) search.append(FILTER + field, value);
  }
  return search;
}

/** The conditions of the query. */
export function conditionsOf(resource: AnyResource, listing: Listing): string[] {
  const { search, filters } = listing;
  const isUuid = /^[0-9a-f]{32}$/.test(search);
  return [
    ...(resource.only ?? []),
    ...(search ? [isUuid && !resource.key ? `uuid=${search}` : `${resource.searched ?? 'name'}~=%${search}%`] : []),
    ...Object.entries(filters).map(([field, values]) => `${field}?=${values.join(',')}`),
  ];
}
