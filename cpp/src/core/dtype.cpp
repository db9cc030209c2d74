#include "lanner/dtype.h"

#include <cstring>
#include <string>

#include "lanner/error.h"

namespace lanner {
namespace {

constexpr const char* kNames[kDTypeCount] = {"bool",  "uint8", "uint16",  "uint32",   "uint64",  "int8",   "int16",
                                             "int32", "int64", "float16", "bfloat16", "float32", "float64"};

constexpr bool is_signed(DType t) { return t >= DType::Int8 && t <= DType::Int64; }

// The narrowest signed integer that holds all of an unsigned one's values and all of a signed one's.
DType signed_for(DType unsigned_one, DType signed_one) {
  check<DTypeError>(unsigned_one != DType::UInt64, "no integer dtype holds the values of both uint64 and ",
                    dtype_name(signed_one), "; cast one of them");
  const int wider =
      static_cast<int>(DType::Int8) + (static_cast<int>(unsigned_one) - static_cast<int>(DType::UInt8)) + 1;
  return wider > static_cast<int>(signed_one) ? static_cast<DType>(wider) : signed_one;
}

}  // namespace

const char* dtype_name(DType t) { return kNames[static_cast<int>(t)]; }

DType dtype_from_name(const char* name) {
  for (int i = 0; i < kDTypeCount; ++i)
    if (std::strcmp(name, kNames[i]) == 0) return static_cast<DType>(i);
  std::string names;
  for (const char* known : kNames) names += std::string(names.empty() ? "" : ", ") + known;
  throw DTypeError(std::string("'") + name + "' is no dtype; there are " + names);
}

DType promote(DType a, DType b) {
  if (a > b) return promote(b, a);
  if (is_half(a) && is_half(b) && a != b) return DType::Float32;  // neither holds the other's values
  if (is_unsigned(a) && is_signed(b)) return signed_for(a, b);
  return b;
}

}  // namespace lanner
