#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "lanner/tensor.h"

namespace lanner {

using NamedTensors = std::vector<std::pair<std::string, Tensor>>;
using Metadata = std::map<std::string, std::string>;

// What a safetensors file holds, in the order in which the file names it.
struct TensorFile {
  NamedTensors tensors;
  Metadata metadata;
};

// The system refused: no such file, no permission, no space. `code()` is its errno.
class FileError : public Error {
 public:
  FileError(const std::string& message, std::string path, int code)
      : Error(message), path_(std::move(path)), code_(code) {}
  const std::string& path() const { return path_; }
  int code() const { return code_; }

 private:
  std::string path_;
  int code_;
};

// Writes tensors and text to a safetensors file, which any tool for that format reads. The file appears whole or not at
// all: until the new one is on the disk, `path` is what it was before. Throws FileError; Error for a name given twice.
void save_tensors(const std::string& path, const NamedTensors& tensors, const Metadata& metadata = {});

// Reads a file of that format into memory of its own. Every length, offset, name, dtype and shape is checked before
// use: damage throws FormatError, which says what is wrong with which file. Throws FileError where there is none.
TensorFile load_tensors(const std::string& path);

}  // namespace lanner
