import { Typography } from 'antd';
import { Link } from 'react-router-dom';
import { useSpeech } from '../i18n/context';
import type { Translate } from '../i18n/language';
import type { Column, Item, Kind } from '../resources/define';
import { bytes, date, moment } from './format';
import { StateLamp, word } from './state';
import { useNames } from './use';

/** Uuids that a column of an item refers to. */
export function references(column: Column<Item>, item: Item): string[] {
  const value = item[column.field];
  if (!column.refers || value === undefined || value === null || value === '') return [];
  return (Array.isArray(value) ? value : [value]).map(String);
}

/** A value as text, for cells that are not more than that and for files. */
export function plain(t: Translate, column: Column<Item>, item: Item): string {
  if (column.text) return column.text(item);
  const value = item[column.field];
  if (value === undefined || value === null) return '';
  switch (column.shown) {
    case 'bytes':
      return bytes(Number(value));
    case 'date':
      return date(String(value));
    case 'moment':
      return moment(Number(value));
    case 'duration':
      return t('task.seconds', { seconds: (Number(value) / 1000).toFixed(2) });
    case 'flag':
      return word(t, Boolean(value));
    case 'state':
    case 'word':
      return word(t, value);
    default:
      return Array.isArray(value) ? value.join(', ') : String(value);
  }
}

/** A value of an item. `names` are those of the resources that the column refers to. */
export function Value({ column, item, names }: { column: Column<Item>; item: Item; names: Readonly<Record<string, string>> }) {
  const { t } = useSpeech();
  if (column.refers) {
    const { refers } = column;
    return (
      <>
        {references(column, item).map((uuid, index) => (
          <span key={uuid}>
            {index > 0 && ', '}
            <Link to={`/${refers}/${uuid}`}>{names[uuid] ?? uuid.slice(0, 8)}</Link>
          </span>
        ))}
      </>
    );
  }
  if (column.shown === 'state') return <StateLamp value={item[column.field]} />;
  const text = plain(t, column, item);
  return column.shown === 'code' && text ? <Typography.Text code>{text}</Typography.Text> : <>{text}</>;
}

/** A value that fetches the names it needs. */
export function NamedValue({ column, item }: { column: Column<Item>; item: Item }) {
  const names = useNames(column.refers as Kind | undefined, references(column, item));
  return <Value column={column} item={item} names={names} />;
}
