/** What all parts of the page work on: who there is, what there is, who is here and what is open. */
export const state = { accounts: [], documents: [], session: undefined, open: undefined }
