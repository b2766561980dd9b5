import { query } from '../api/client';
import type { Translate } from '../i18n/language';
import type { AnyResource, Item } from '../resources/define';
import { labelOf } from './fields';
import { csvLine } from './format';
import { plain } from './value';

/** Rows asked for at once. */
const CHUNK = 500;

/** The whole list as it is filtered and sorted, one line per resource (F-569, PLAT-DASH-030). */
async function table(resource: AnyResource, conditions: readonly string[], sort: string, t: Translate): Promise<string> {
  const columns = [...(resource.key ? [] : [{ field: 'uuid' }]), ...resource.columns, ...(resource.details ?? [])];
  const lines = [csvLine(columns.map((column) => t(labelOf({ name: column.field, label: 'label' in column ? column.label : undefined }))))];
  for (let start = 0; ; start += CHUNK) {
    const page = await query(resource.query, { conditions, sort, start, limit: CHUNK });
    lines.push(...(page.items as Item[]).map((item) => csvLine(columns.map((column) => plain(t, column, item)))));
    if (start + CHUNK >= page.total) return `${lines.join('\r\n')}\r\n`;
  }
}

/** Saves the list as a file. */
export async function save(resource: AnyResource, conditions: readonly string[], sort: string, t: Translate): Promise<void> {
  // The mark in front tells spreadsheets that it is UTF-8.
  const blob = new Blob(['\uFEFF', await table(resource, conditions, sort, t)], { type: 'text/csv' });
  const link = document.createElement('a');
  link.href = URL.createObjectURL(blob);
  link.download = `${resource.kind}.csv`;
  link.click();
  URL.revokeObjectURL(link.href);
}
