import { publicNames } from './scripts/public-names.js'

const swc = {
  jsc: { target: 'es2022', parser: { syntax: 'typescript' } },
  module: { type: 'es6' },
  sourceMaps: 'inline',
}

/** @type {import('jest').Config} */
export default {
  testEnvironment: 'node',
  testMatch: ['<rootDir>/test/**/*.test.ts'],
  extensionsToTreatAsEsm: ['.ts'],
  transform: { '^.+\\.ts$': ['@swc/jest', swc] },
  moduleNameMapper: Object.fromEntries([...publicNames].map(([name, source]) => [`^${name}$`, `<rootDir>/${source}`])),
  globalSetup: '<rootDir>/test/support/global-setup.js',
  globalTeardown: '<rootDir>/test/support/global-teardown.js',
  modulePathIgnorePatterns: ['<rootDir>/dist/', '<rootDir>/test/package/consumers/'],
  coverageProvider: 'v8',
  collectCoverageFrom: ['lib/**/*.ts', 'policies/**/*.ts', 'adapters/**/*.ts', 'client/**/*.ts'],
  // Real servers and a real browser share few cores in CI; a test that is truly stuck still ends.
  testTimeout: 60_000,
  maxWorkers: '100%',
}
