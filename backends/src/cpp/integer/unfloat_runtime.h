/* Functions for programs around an emitted network; C99 and C++. The network itself needs none of them. */
#ifndef UNFLOAT_RUNTIME_H
#define UNFLOAT_RUNTIME_H

#include <math.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
inline
#else
static inline
#endif
    /* Rounds n floats to the integers that 8 bits hold, -128 to 127, and leaves them floats: ties go away from 0, as
       roundf's do; what lies outside becomes the nearest of these; NaN stays NaN. dst may be src. Included in a C++
       file, it can be called from C as well. */
#if defined(__cplusplus) && defined(__GNUC__)
    __attribute__((used))
#endif
    void
    quantizeInt8InFloat(size_t n, const float* src, float* dst) {
  size_t i;
  for (i = 0; i < n; ++i) {
    const float r = roundf(src[i]);
    dst[i] = r < -128.0f ? -128.0f : r > 127.0f ? 127.0f : r;
  }
}
#ifdef __cplusplus
}
#endif

#endif
