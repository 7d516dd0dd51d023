mod life;
mod limits;
mod names;
mod own;
mod sums;
mod walks;
mod world;
