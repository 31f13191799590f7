"""Options of the tiny trainings that jobs of several ranks do."""

from gsdff.config.options import Stage1Config, Stage2Config, TeacherConfig, TrainConfig

STAGE1 = Stage1Config(
    steps=24, sh_degree=1, sh_interval=8, refine_start=4, refine_every=5, refine_stop=20, grow_grad2d=1e-5,
    reset_every=0, max_gaussians=70,
)  # fmt: skip
CONFIG = TrainConfig(
    teacher=TeacherConfig(name="none"), stage1=STAGE1, stage2=Stage2Config(steps=6), log_every=4, picture_every=12,
    checkpoint_every=10, device="cpu",
)  # fmt: skip
