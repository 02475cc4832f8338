import { defineConfig, globalIgnores } from 'eslint/config'
import tseslint from 'typescript-eslint'

export default defineConfig(
  globalIgnores(['dist/', 'coverage/', 'node_modules/', '.artifacts/', 'test/package/consumers/', 'examples/*/public/']),
  {
    files: ['**/*.ts', '**/*.js'],
    extends: [tseslint.configs.recommendedTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    linterOptions: { reportUnusedDisableDirectives: 'error' },
    rules: {
      eqeqeq: ['error', 'always', { null: 'ignore' }],
      'no-var': 'error',
      'prefer-const': 'error',
      'no-restricted-syntax': [
        'error',
        { selector: 'TSEnumDeclaration', message: 'Use a union of string literals.' },
      ],
      '@typescript-eslint/consistent-type-imports': ['error', { fixStyle: 'inline-type-imports', disallowTypeAnnotations: false }],
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/no-misused-promises': 'error',
      // An import whose every name is a type must vanish from the output, not stay behind as `import {} from`.
      '@typescript-eslint/no-import-type-side-effects': 'error',
      // The variance of hooks needs `any` in types; what an `any` value may then do is held by the no-unsafe rules.
      '@typescript-eslint/no-explicit-any': 'off',
      '@typescript-eslint/switch-exhaustiveness-check': 'error',
      '@typescript-eslint/only-throw-error': 'error',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_', caughtErrors: 'none', ignoreRestSiblings: true }],
      // Error messages show whatever a user has passed; a value that prints badly there is no bug.
      '@typescript-eslint/no-base-to-string': 'off',
      // A hook may be asynchronous by contract without having anything to await.
      '@typescript-eslint/require-await': 'off',
      // `{}` as "no facts" is what the gate's type parameters mean by it.
      '@typescript-eslint/no-empty-object-type': ['error', { allowObjectTypes: 'always', allowInterfaces: 'with-single-extends' }],
    },
  },
  {
    files: ['lib/**', 'policies/**', 'adapters/**', 'client/**'],
    rules: {
      // A fault that nobody listens to goes to console.error; everything else is an event or an observer.
      'no-console': ['error', { allow: ['error'] }],
      // Time and randomness are injected, so that no test has to sleep or guess.
      'no-restricted-properties': [
        'error',
        { object: 'Date', property: 'now', message: 'Take the time from the injected clock.' },
        { object: 'process', property: 'env', message: 'The same behaviour everywhere: make it an option.' },
        { object: 'Math', property: 'random', message: 'Not for anything a client may see: use node:crypto.' },
      ],
    },
  },
  {
    files: ['lib/stages/**'],
    rules: {
      // A seam wraps a method of Socket.IO: it takes it from its object, and passes on the `this` of each call.
      '@typescript-eslint/unbound-method': 'off',
      '@typescript-eslint/no-this-alias': 'off',
    },
  },
  { files: ['lib/clock.ts'], rules: { 'no-restricted-properties': 'off' } },
  {
    files: ['test/**', 'bench/**', 'examples/**', 'scripts/**'],
    rules: {
      // Hostile input is `any` on purpose, and what a socket hands over is `any` by Socket.IO's own types, as is what JSON.parse returns.
      '@typescript-eslint/no-unsafe-argument': 'off',
      '@typescript-eslint/no-unsafe-assignment': 'off',
      '@typescript-eslint/no-unsafe-call': 'off',
      '@typescript-eslint/no-unsafe-member-access': 'off',
      '@typescript-eslint/no-unsafe-return': 'off',
      '@typescript-eslint/only-throw-error': 'off',
      '@typescript-eslint/unbound-method': 'off',
      '@typescript-eslint/prefer-promise-reject-errors': 'off',
    },
  },
  {
    files: ['test/types/**'],
    rules: { '@typescript-eslint/no-unused-vars': 'off', '@typescript-eslint/no-floating-promises': 'off' },
  },
)
