import { createHash, timingSafeEqual } from "node:crypto";
import { Account } from "./account.ts";

/** Someone who may sign in as anybody: as `alice<separator>user`, or by a SASL authorization identity. */
export interface MasterUser {
  readonly user: string;
  readonly password: string;
  readonly separator: string;
}

export interface AccountOptions {
  readonly name: string;
  readonly password: string;
}

function sameSecret(given: string, expected: string): boolean {
  const digest = (text: string): Buffer => createHash("sha256").update(text).digest();
  return timingSafeEqual(digest(given), digest(expected));
}

/** All accounts of one backend, in memory. Every protocol of the sandbox serves the same store. */
export class MailStore {
  readonly #masterUser: MasterUser | undefined;
  readonly #accounts = new Map<string, { readonly account: Account; readonly password: string }>();

  constructor(accounts: readonly AccountOptions[] = [], masterUser?: MasterUser) {
    this.#masterUser = masterUser;
    for (const account of accounts) this.addAccount(account);
  }

  addAccount({ name, password }: AccountOptions): Account {
    const account = new Account(name);
    this.#accounts.set(name, { account, password });
    return account;
  }

  account(name: string): Account | undefined {
    return this.#accounts.get(name)?.account;
  }

  /** RFC 4616: the password is the authcid's; the account is the authzid's, if there is one. */
  login(authcid: string, password: string, authzid = ""): Account | undefined {
    const master = this.#masterUser;
    const [user, proxy] = splitMaster(authcid, master?.separator);
    const wanted = authzid || user;
    if (master && (proxy ?? authcid) === master.user) {
      const granted = sameSecret(password, master.password);
      return granted && (proxy === undefined || wanted === user) ? this.account(wanted) : undefined;
    }
    const entry = this.#accounts.get(authcid);
    const granted = sameSecret(password, entry?.password ?? "") && entry !== undefined;
    return granted && wanted === authcid ? entry.account : undefined;
  }
}

function splitMaster(authcid: string, separator: string | undefined): [user: string, master?: string] {
  const at = separator ? authcid.lastIndexOf(separator) : -1;
  return separator && at > 0 ? [authcid.slice(0, at), authcid.slice(at + separator.length)] : [authcid];
}
