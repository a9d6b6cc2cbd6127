import js from '@eslint/js';
import tseslint from 'typescript-eslint';

// Architecture 1: dependencies point one way, plugin -> factory-core -> blip; the two pure rooms do no I/O, read no
// clock and draw no randomness.
const io = {
  group: ['node:*', 'fs', 'net', 'http', 'https', 'crypto', 'child_process', 'os', 'path', 'worker_threads', 'better-sqlite3'],
  message: 'blip/ and factory-core/ do no I/O (architecture 1).',
};
const impureGlobals = [
  { name: 'process', message: 'Pure room: no process.' },
  { name: 'setTimeout', message: 'Pure room: no timers.' },
  { name: 'setInterval', message: 'Pure room: no timers.' },
  { name: 'crypto', message: 'Pure room: randomness is handed in.' },
  { name: 'performance', message: 'Pure room: no clock.' },
  { name: 'console', message: 'Pure room: no output.' },
];
const impureCalls = [
  { object: 'Date', property: 'now', message: 'Pure room: no clock.' },
  { object: 'Math', property: 'random', message: 'Pure room: randomness is handed in.' },
];
const room = (files, forbidden) => ({
  files,
  ignores: ['**/test/**'],
  rules: {
    'no-restricted-imports': ['error', { patterns: [io, ...forbidden] }],
    'no-restricted-globals': ['error', ...impureGlobals],
    'no-restricted-properties': ['error', ...impureCalls],
  },
});

export default tseslint.config(
  { ignores: ['dist/', 'node_modules/', '.cache/'] },
  js.configs.recommended,
  {
    files: ['**/*.ts'],
    extends: [...tseslint.configs.strictTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      'max-lines': ['error', { max: 600 }],
      '@typescript-eslint/no-explicit-any': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true, allowBoolean: true }],
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
      '@typescript-eslint/consistent-type-imports': 'error',
      'no-throw-literal': 'error',
    },
  },
  room(['blip/**/*.ts'], [{ group: ['**/factory-core/**', '**/plugin/**', '**/itest/**'], message: 'blip/ imports nothing of ours.' }]),
  room(['factory-core/**/*.ts'], [{ group: ['**/plugin/**', '**/itest/**'], message: 'factory-core/ may import blip/ only.' }]),
  { files: ['plugin/**/*.ts'], rules: { 'no-restricted-imports': ['error', { patterns: [{ group: ['**/itest/**'], message: 'plugin/ does not know the tests.' }] }] } },
  { files: ['**/*.test.ts', '**/*.e2e.ts', '**/test/**/*.ts'], rules: { '@typescript-eslint/no-non-null-assertion': 'off', '@typescript-eslint/no-floating-promises': ['error', { allowForKnownSafeCalls: ['test', 'it', 'describe'] }] } },
  { files: ['**/*.js'], languageOptions: { globals: { process: 'readonly', console: 'readonly' } } },
);
