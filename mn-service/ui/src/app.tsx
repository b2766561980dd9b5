import { App as AntApp, Button, ConfigProvider, Result, Spin } from 'antd';
import enUs from 'antd/locale/en_US';
import zhCn from 'antd/locale/zh_CN';
import { QueryClient, QueryClientProvider } from '@tanstack/react-query';
import { Component, lazy, Suspense, useEffect, useMemo, useState, type ReactNode } from 'react';
import { BrowserRouter, Navigate, Route, Routes, useParams } from 'react-router-dom';
import { resume } from './api/client';
import { CallError } from './api/error';
import { SpeechContext, useSpeech } from './i18n/context';
import { preferred, remember, translator, type Language } from './i18n/language';
import { nonce } from './nonce';
import { Dashboard } from './pages/dashboard';
import { ListPage } from './pages/list';
import { LoginPage } from './pages/login';
import { Shell } from './parts/shell';
import { TaskList } from './parts/task-list';
import { useReducedMotion, useSession } from './parts/use';
import { resourceOf } from './resources';

const ConsolePage = lazy(() => import('./console/page'));

const client = new QueryClient({
  defaultOptions: {
    queries: {
      // What the service refuses it refuses again; a connection that broke may come back.
      retry: (failures, error) => failures < 2 && error instanceof CallError && error.origin === 'network',
      staleTime: 1000,
    },
  },
});

/** The whole UI. */
export function App() {
  const [language, setLanguage] = useState<Language>(preferred);
  const still = useReducedMotion();
  const speech = useMemo(() => {
    const choose = (next: Language) => {
      remember(next);
      setLanguage(next);
    };
    return { language, t: translator(language), choose };
  }, [language]);
  useEffect(() => {
    document.documentElement.lang = language === 'zh' ? 'zh-CN' : 'en';
  }, [language]);
  return (
    <SpeechContext.Provider value={speech}>
      <ConfigProvider locale={language === 'zh' ? zhCn : enUs} csp={{ nonce }} theme={{ token: { colorPrimary: '#1668dc', borderRadius: 5, motion: !still } }}>
        <AntApp className="app">
          <QueryClientProvider client={client}>
            <Guard>
              <BrowserRouter>
                <Pages />
              </BrowserRouter>
            </Guard>
          </QueryClientProvider>
        </AntApp>
      </ConfigProvider>
    </SpeechContext.Provider>
  );
}

/** Pages of a session; without one there is the login and the address stays for afterwards. */
function Pages() {
  const session = useSession();
  const signedIn = session !== null;
  useEffect(() => {
    if (signedIn) resume();
    // What one account saw is not for the next.
    else client.clear();
  }, [signedIn]);
  if (!signedIn) return <LoginPage />;
  return (
    <Suspense fallback={<Spin fullscreen />}>
      <Routes>
        <Route path="/console/:id" element={<ConsolePage />} />
        <Route element={<Shell />}>
          <Route index element={<Dashboard />} />
          <Route path="/tasks" element={<TaskPage />} />
          <Route path="/:kind" element={<Lists />} />
          <Route path="/:kind/:id" element={<Lists />} />
        </Route>
      </Routes>
    </Suspense>
  );
}

function Lists() {
  const resource = resourceOf(useParams().kind);
  return resource ? <ListPage key={resource.kind} resource={resource} /> : <Navigate to="/" replace />;
}

function TaskPage() {
  const { t } = useSpeech();
  return (
    <div className="page">
      <div className="toolbar">
        <h2>{t('task.title')}</h2>
      </div>
      <TaskList />
    </div>
  );
}

/** Catches what a page throws, so that a defect of one page is not a white screen. */
class Guard extends Component<{ children: ReactNode }, { error: Error | null }> {
  override state: { error: Error | null } = { error: null };

  static getDerivedStateFromError(error: Error) {
    return { error };
  }

  override render() {
    return this.state.error ? <Broken error={this.state.error} /> : this.props.children;
  }
}

function Broken({ error }: { error: Error }) {
  const { t } = useSpeech();
  return (
    <Result
      status="error"
      title={t('error.reload')}
      subTitle={error.message}
      extra={<Button onClick={() => window.location.assign('/')}>{t('nav.dashboard')}</Button>}
    />
  );
}
