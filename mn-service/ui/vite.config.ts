import react from '@vitejs/plugin-react';
import { defineConfig } from 'vitest/config';

// `npm run dev` serves the sources and passes calls on to a management service, by default the one of this machine.
const service = process.env.ZSTACK_SERVICE ?? 'http://127.0.0.1:5000';

export default defineConfig({
  plugins: [react()],
  // The service puts a fresh nonce into every page it sends; styles that are made at run time carry it.
  html: { cspNonce: '__CSP_NONCE__' },
  build: {
    target: 'es2022',
    // Small pictures inside scripts would need no policy of their own, but fonts would: keep everything in files.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 1200,
    rollupOptions: {
      output: {
        manualChunks: {
          antd: ['antd', '@ant-design/icons'],
          react: ['react', 'react-dom', 'react-router-dom', '@tanstack/react-query'],
        },
      },
    },
  },
  server: { proxy: { '/zstack': service, '/console': { target: service, ws: true } } },
  test: { environment: 'node' },
});
