// Colour maps of scores, each at nine points between which colours are mixed.

const MAPS: Record<string, number[][]> = {
  viridis: [
    [68, 1, 84], [71, 45, 123], [59, 82, 139], [44, 114, 142], [33, 145, 140],
    [40, 174, 128], [94, 201, 98], [173, 220, 48], [253, 231, 37],
  ],
  magma: [
    [0, 0, 4], [28, 16, 68], [79, 18, 123], [129, 37, 129], [181, 54, 122],
    [229, 80, 100], [251, 135, 97], [254, 194, 135], [252, 253, 191],
  ],
  turbo: [
    [48, 18, 59], [70, 107, 227], [40, 187, 236], [49, 242, 153], [162, 252, 60],
    [237, 208, 58], [251, 128, 34], [210, 49, 5], [122, 4, 3],
  ],
  grey: Array.from({ length: 9 }, (_, i) => [32 + 27 * i, 32 + 27 * i, 32 + 27 * i]),
};

export const COLOR_MAPS = Object.keys(MAPS);

// Colour of a share from 0 to 1, each channel from 0 to 1.
export function mapColor(name: string, share: number): [number, number, number] {
  const points = MAPS[name];
  const at = Math.min(Math.max(share, 0), 1) * (points.length - 1);
  const low = Math.min(Math.floor(at), points.length - 2);
  const [a, b] = [points[low], points[low + 1]];
  return [0, 1, 2].map((i) => (a[i] + (at - low) * (b[i] - a[i])) / 255) as [number, number, number];
}
