import type { ISessionContext } from '@jupyterlab/apputils';
import type { KernelMessage } from '@jupyterlab/services';
import type { JSONObject } from '@lumino/coreutils';
import type { IDisposable } from '@lumino/disposable';
import { type ISignal, Signal } from '@lumino/signaling';

import { type Delta, isDelta, MIME } from './tokens';

/** `none`: no Python kernel; `checking`: asked, no answer yet; `silent`: the extension is not loaded there. */
export type LinkStatus = 'none' | 'checking' | 'silent' | 'linked';

const LOAD = '%load_ext mlops_nb';
const PROBE = "(__import__('os').getpid(), 'mlops_nb' in get_ipython().extension_manager.loaded)";
const ANSWER = /^\((\d+), (True|False)\)$/;

/** One notebook's kernel: what it broadcasts, and whether our extension is loaded in it. */
export class KernelLink implements IDisposable {
  /** the kernel process, 0 while unknown */
  pid = 0;
  status: LinkStatus = 'none';
  /** whether a cell ran, told by this very kernel process */
  live = false;
  /** whether this page saw the kernel restart, and no cell run since */
  restarted = false;

  private readonly _delta = new Signal<this, Delta>(this);
  private readonly _changed = new Signal<this, undefined>(this);
  private pending = true;
  private disposed = false;

  constructor(private readonly session: ISessionContext) {
    session.iopubMessage.connect(this.onMessage, this);
    session.kernelChanged.connect(this.onKernel, this);
    session.statusChanged.connect(this.onStatus, this);
    void session.ready.then(() => this.probe());
  }

  get delta(): ISignal<this, Delta> {
    return this._delta;
  }

  get changed(): ISignal<this, undefined> {
    return this._changed;
  }

  get isDisposed(): boolean {
    return this.disposed;
  }

  dispose(): void {
    this.disposed = true;
    Signal.clearData(this);
  }

  /** Load the extension in the kernel. */
  async load(): Promise<void> {
    const kernel = this.session.session?.kernel;
    if (kernel) {
      this.set('checking');
      await kernel.requestExecute({ code: LOAD, store_history: false }).done;
      await this.probe();
    }
  }

  /** Ask the kernel for its process id and whether the extension is loaded: one expression, run silently. */
  private async probe(): Promise<void> {
    const kernel = this.session.session?.kernel;
    this.pending = false;
    if (!kernel || (await kernel.info).language_info.name !== 'python') {
      this.set('none');
      return;
    }
    if (this.status !== 'linked') {
      this.set('checking');
    }
    const content = { code: '', silent: true, store_history: false, user_expressions: { mlops_nb: PROBE } };
    try {
      this.answer(await kernel.requestExecute(content).done);
    } catch {
      // the kernel went away before it answered; its next status asks again
      this.pending = true;
    }
  }

  private answer(reply: KernelMessage.IExecuteReplyMsg | undefined): void {
    const found = reply?.content.status === 'ok' ? ANSWER.exec(expression(reply.content)) : null;
    this.pid = Number(found?.[1] ?? 0);
    this.set(found?.[2] === 'True' ? 'linked' : 'silent');
  }

  private onMessage(_: unknown, message: KernelMessage.IMessage): void {
    if (message.header.msg_type === 'execute_input') {
      const { code } = (message as KernelMessage.IExecuteInputMsg).content;
      this.pending ||= this.status === 'silent' && code.includes('mlops_nb');
    } else if (message.header.msg_type === 'update_display_data') {
      const data: unknown = (message as KernelMessage.IUpdateDisplayDataMsg).content.data[MIME];
      if (isDelta(data)) {
        this.status = 'linked';
        this.live = true;
        this.restarted = false;
        this._delta.emit(data);
      }
    }
  }

  private onKernel(): void {
    this.pid = 0;
    this.live = this.restarted = false;
    void this.probe();
  }

  private onStatus(_: unknown, status: KernelMessage.Status): void {
    if (status === 'restarting' || status === 'autorestarting') {
      this.pending = this.restarted = true;
      this.live = false;
      this.pid = 0;
      this.set('checking');
    } else if (this.pending && status === 'idle') {
      void this.probe();
    }
  }

  private set(status: LinkStatus): void {
    this.status = status;
    if (!this.disposed) {
      this._changed.emit(undefined);
    }
  }
}

function expression(content: KernelMessage.IReplyOkContent & { user_expressions: JSONObject }): string {
  const value = content.user_expressions.mlops_nb as { data?: Record<string, string> } | undefined;
  return value?.data?.['text/plain'] ?? '';
}
