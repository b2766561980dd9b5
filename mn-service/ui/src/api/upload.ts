import { call, here } from './client';
import { CallError, type ErrorCode } from './error';
import * as tasks from './tasks';

/** Bytes of one slice: small enough to be sent again, large enough not to matter. */
export const SLICE = 8 * 1024 * 1024;
/** How often one slice is tried. */
const TRIES = 4;

/** Part of a file that travels by itself. */
export interface Slice {
  index: number;
  offset: number;
  size: number;
}

/** Cuts a file of `size` bytes. */
export function slices(size: number): Slice[] {
  const count = Math.ceil(size / SLICE);
  return Array.from({ length: count }, (_, index) => ({ index, offset: index * SLICE, size: Math.min(SLICE, size - index * SLICE) }));
}

/** What an image is, besides its bytes. */
export interface Description {
  name: string;
  mediaType: string;
  format: string;
  platform: string;
  description?: string;
  backupStorageUuids: string[];
}

/** How far an upload is. */
export interface Progress {
  sent: number;
  total: number;
}

/** Adds an image and sends its bytes (CS-IMG-031); ends when the image server has checked them. */
export async function upload(file: File, about: Description, report: (progress: Progress) => void, signal: AbortSignal): Promise<void> {
  const { inventory } = await call('AddImage', { ...about, url: `upload://${file.name}` }, { subject: about.name });
  const image = inventory?.uuid;
  const path = inventory?.backupStorageRefs?.[0]?.installPath;
  if (!image || !path) throw new CallError('network', { description: 'unexpected answer', details: 'no address for the upload' }, 'AddImage');
  // The service names itself as the image server reaches it; its own page reaches it here.
  const url = here(path, '/zstack/v1/image-uploads/');
  const task = `upload-${image}`;
  tasks.begin({ id: task, api: 'UploadImage', subject: about.name });
  const told = (sent: number) => {
    report({ sent, total: file.size });
    tasks.progress(task, (sent / file.size) * 99, '');
  };
  try {
    for (const slice of slices(file.size)) {
      await send(url, image, file, slice, (sent) => told(slice.offset + sent), signal);
    }
    tasks.succeed(task);
  } catch (thrown) {
    const failure = thrown instanceof CallError ? thrown : new CallError('network', { details: String(thrown) }, 'UploadImage');
    tasks.fail(task, failure);
    if (signal.aborted) await discard(image);
    throw failure;
  }
}

/** An upload that was given up leaves no half image behind. */
async function discard(image: string): Promise<void> {
  try {
    await call('DeleteImage', { uuid: image }, { shown: false });
    await call('ExpungeImage', { imageUuid: image }, { shown: false });
  } catch {
    // The service removes what nobody goes on with by itself.
  }
}

async function send(url: string, image: string, file: File, slice: Slice, report: (sent: number) => void, signal: AbortSignal): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      await post(url, image, file, slice, report, signal);
      return;
    } catch (failure) {
      // What the service says about a slice is final; a connection that broke is not.
      if (signal.aborted || attempt === TRIES || !(failure instanceof CallError) || failure.origin !== 'network') throw failure;
      await new Promise((done) => setTimeout(done, 1000 * attempt));
    }
  }
}

/** One slice. `fetch` tells nothing about how much was sent; the older interface does. */
function post(url: string, image: string, file: File, slice: Slice, report: (sent: number) => void, signal: AbortSignal): Promise<void> {
  return new Promise((done, fail) => {
    const request = new XMLHttpRequest();
    const lost = (details: string) => fail(new CallError('network', { details }, 'UploadImage'));
    const abort = () => {
      request.abort();
      lost('cancelled');
    };
    request.open('POST', url);
    request.setRequestHeader('X-IMAGE-UUID', image);
    request.setRequestHeader('X-IMAGE-SIZE', String(file.size));
    request.setRequestHeader('X-SLICE-INDEX', String(slice.index));
    request.setRequestHeader('X-SLICE-OFFSET', String(slice.offset));
    request.setRequestHeader('X-SLICE-SIZE', String(slice.size));
    request.upload.onprogress = (event) => report(Math.min(event.loaded, slice.size));
    request.onerror = () => lost('the connection broke');
    request.onloadend = () => signal.removeEventListener('abort', abort);
    request.onload = () => {
      if (request.status === 200) {
        report(slice.size);
        done();
      } else {
        fail(new CallError(request.status === 503 ? 'api' : 'request', errorOf(request), 'UploadImage'));
      }
    };
    if (signal.aborted) return lost('cancelled');
    signal.addEventListener('abort', abort);
    const form = new FormData();
    form.append('file', file.slice(slice.offset, slice.offset + slice.size), file.name);
    request.send(form);
  });
}

function errorOf(request: XMLHttpRequest): ErrorCode {
  try {
    const { error } = JSON.parse(request.responseText) as { error?: ErrorCode };
    if (error) return error;
  } catch {
    // Malformed requests are answered in plain text.
  }
  return { code: `HTTP ${request.status}`, details: request.responseText.slice(0, 4096) };
}
