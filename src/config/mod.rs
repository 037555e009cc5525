//! Configuration: as users write it, and as the program needs it.
