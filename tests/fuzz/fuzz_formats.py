"""Every format that is fuzzed."""

import fuzz_datasets
import fuzz_doors
import fuzz_edits
import fuzz_maps
import fuzz_splats

FORMATS = (*fuzz_datasets.FORMATS, *fuzz_splats.FORMATS, *fuzz_maps.FORMATS, *fuzz_edits.FORMATS, *fuzz_doors.FORMATS)
