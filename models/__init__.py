"""What makes characters speak: engines, rendering, prompt layout, and the recipe. Knows no HTTP, Redis or users."""
