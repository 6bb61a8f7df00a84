import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';

import type { Feature, Snapshot } from './tokens';

interface Problem {
  readonly message?: string;
  readonly where?: string;
  readonly hint?: string;
}

/** Requests to the server extension; every failure is an Error whose message is fit to be shown. */
export class Api {
  constructor(private readonly settings: ServerConnection.ISettings) {}

  notebook(path: string): Promise<Snapshot> {
    return this.get<Snapshot>('notebook', { path });
  }

  async features(path: string, query: string): Promise<readonly Feature[]> {
    return (await this.get<{ features: readonly Feature[] }>('features', { path, q: query })).features;
  }

  private async get<T>(route: string, query: Record<string, string>): Promise<T> {
    const url = URLExt.join(this.settings.baseUrl, 'mlops-nb', route) + URLExt.objectToQueryString(query);
    const response = await ServerConnection.makeRequest(url, {}, this.settings);
    if (!response.ok) {
      throw new Error(await problem(response));
    }
    return (await response.json()) as T;
  }
}

async function problem(response: Response): Promise<string> {
  const text = await response.text();
  try {
    const { message, where, hint } = JSON.parse(text) as Problem;
    return [where, message, hint].filter(part => part).join(' · ');
  } catch {
    return `${response.status} ${response.statusText}`;
  }
}
