import { defineConfig } from "vite";

// One classic script: a page opened from a disk may not load modules.
export default defineConfig({
  build: {
    lib: { entry: "src/main.ts", name: "gsdffPage", formats: ["iife"], fileName: () => "app.js" },
    outDir: "dist",
    target: "es2022",
    copyPublicDir: false,
  },
  worker: { format: "iife" },
});
