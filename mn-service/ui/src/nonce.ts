/** The nonce of this page. The service makes a new one for every page it sends and names it in the page's policy. */
export const nonce = document.querySelector<HTMLMetaElement>('meta[name=csp-nonce]')?.content ?? '';

// Most styles that are made at run time get the nonce from the configuration of the components; a few measurements and
// the lock on scrolling do not ask for it. They are our own scripts too, so their style elements are named here.
const create = document.createElement.bind(document);
document.createElement = (name: string, options?: ElementCreationOptions) => {
  const element: HTMLElement = create(name, options);
  if (element instanceof HTMLStyleElement) element.nonce = nonce;
  return element;
};
