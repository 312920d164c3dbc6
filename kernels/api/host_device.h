// Functions that a device's kernels call too. A C++ compiler sees nothing of it.
#pragma once

#if defined(__CUDACC__)
#define MM2_HD __host__ __device__
#else
#define MM2_HD
#endif
