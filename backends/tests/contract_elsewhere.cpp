#include "branches.hpp"

void elsewhere(const float* in, float* map, float* probabilities);
void elsewhere(const float* in, float* map, float* probabilities) { branches::run(in, map, probabilities); }
