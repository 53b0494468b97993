interface LoadOptions {
  /** Requests at a time. */
  readonly concurrency: number;
  /** After so many requests, `burstSize` are sent at once; 0 means never. */
  readonly burstEvery: number;
  readonly burstSize: number;
  /** Sends the request with that number; resolves when it has ended. Never rejects. */
  readonly send: (index: number) => Promise<void>;
}

/** Sends numbered requests, so many at a time. */
export class Load {
  #sent = 0;
  readonly #options: LoadOptions;

  constructor(options: LoadOptions) {
    this.#options = options;
  }

  /** Requests sent so far. */
  get sent(): number {
    return this.#sent;
  }

  /** Sends while `more` says so; resolves when all have ended. */
  async run(more: (sent: number) => boolean): Promise<void> {
    const { concurrency, burstEvery, burstSize } = this.#options;
    const bursts: Promise<void>[] = [];
    const client = async (): Promise<void> => {
      while (more(this.#sent)) {
        if (burstEvery > 0 && this.#sent % burstEvery === burstEvery - 1)
          for (let left = burstSize; left > 0 && more(this.#sent); left -= 1) bursts.push(this.#send());
        else await this.#send();
      }
    };
    await Promise.all(Array.from({ length: concurrency }, client));
    await Promise.all(bursts);
  }

  #send(): Promise<void> {
    const index = this.#sent;
    this.#sent += 1;
    return this.#options.send(index);
  }
}
