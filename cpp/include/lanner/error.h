#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace lanner {

// What every mistake of a user throws. The message says the op, the argument, what came and what was expected.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};
class ShapeError : public Error {
 public:
  using Error::Error;
};
// An index that leaves its axis.
class IndexError : public ShapeError {
 public:
  using ShapeError::ShapeError;
};
class DTypeError : public Error {
 public:
  using Error::Error;
};
class DeviceError : public Error {
 public:
  using Error::Error;
};
// The machine has no memory for a tensor.
class MemoryError : public Error {
 public:
  using Error::Error;
};
// A file that is damaged, or is none of ours.
class FormatError : public Error {
 public:
  using Error::Error;
};

// A step that cannot be recorded as a plan: it reads back what it computes, or a shape depends on data.
class RecordingError : public Error {
 public:
  using Error::Error;
};

// check<ShapeError>(ok, "matmul: ", ...) throws with its arguments written one after the other.
template <class E = Error, class... Parts>
void check(bool ok, const Parts&... parts) {
  if (ok) [[likely]]
    return;
  std::ostringstream text;
  (text << ... << parts);
  throw E(text.str());
}

}  // namespace lanner
