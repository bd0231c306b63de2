// What the header promises to the programs that include it: checked by the compiler and at run time.
#include "branches.hpp"
#include "branches.hpp"
#include "perceptron.hpp"

#include <cstdio>
#include <cstdlib>
#include <new>
#include <thread>
#include <type_traits>
#include <vector>

// The other translation unit runs the same network.
void elsewhere(const float* in, float* map, float* probabilities);

static bool counting = false;
static int allocations = 0;
void* operator new(std::size_t n) {
  if (counting) ++allocations;
  if (void* p = std::malloc(n)) return p;
  std::abort();
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }

static_assert(branches::input_size == 40 && branches::output_size_0 == 60 && branches::output_size_1 == 2, "sizes");
static_assert(perceptron::input_size == 3 && perceptron::output_size == 2, "sizes");
static_assert(std::is_same_v<branches::in_t, float> && std::is_same_v<branches::out_t, float>, "types");
static_assert(noexcept(branches::run(nullptr, nullptr, nullptr)), "no exceptions");
static_assert(std::is_trivially_copyable_v<branches::Workspace>, "plain memory");
static_assert(alignof(branches::Workspace) == 64, "aligned");

static bool same(const std::vector<float>& a, const std::vector<float>& b) {
  return std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

int main() {
  std::vector<float> in(40), map(60), p(2), map2(60), p2(2);
  for (std::size_t i = 0; i < in.size(); ++i) in[i] = static_cast<float>(i % 7) - 3.0f;
  static branches::Workspace one, two;
  counting = true;
  branches::run(in.data(), map.data(), p.data(), one);
  branches::run_float(in.data(), map2.data(), p2.data());
  counting = false;
  if (allocations != 0) return std::puts("the heap was used"), 1;
  if (!same(map, map2) || !same(p, p2)) return std::puts("run and run_float differ"), 1;
  // Re-entrant: two threads, a workspace each.
  std::vector<float> other(in.rbegin(), in.rend()), map3(60), p3(2), map4(60), p4(2);
  std::thread thread([&] {
    for (int i = 0; i < 200; ++i) branches::run(other.data(), map3.data(), p3.data(), two);
  });
  for (int i = 0; i < 200; ++i) branches::run(in.data(), map2.data(), p2.data(), one);
  thread.join();
  branches::run(other.data(), map4.data(), p4.data(), one);
  if (!same(map, map2) || !same(map3, map4) || !same(p3, p4)) return std::puts("threads disturb each other"), 1;
  elsewhere(in.data(), map4.data(), p4.data());
  if (!same(map, map4) || !same(p, p4)) return std::puts("translation units differ"), 1;
  // Pointers need no alignment.
  std::vector<float> shifted(41);
  std::memcpy(shifted.data() + 1, in.data(), 40 * sizeof(float));
  branches::run(shifted.data() + 1, map4.data(), p4.data(), one);
  if (!same(map, map4)) return std::puts("alignment matters"), 1;
  return 0;
}
