// Files that appear whole or not at all, and files to read from that are only data.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace lanner {

// A file descriptor that closes itself.
class Descriptor {
 public:
  explicit Descriptor(int fd = -1) : fd_(fd) {}
  ~Descriptor();
  Descriptor(Descriptor&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  Descriptor& operator=(Descriptor&& other) noexcept;
  int get() const { return fd_; }
  bool open() const { return fd_ >= 0; }

 private:
  int fd_;
};

// Replaces `path` on commit(), by a rename; destroyed without one, it leaves `path` as it was and nothing beside it.
class AtomicFile {
 public:
  explicit AtomicFile(const std::string& path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(const void* data, size_t bytes);
  // The data is on the disk under `path` when this returns.
  void commit();

 private:
  [[noreturn]] void fail(const char* what) const;
  void take_name();

  std::string path_;    // as the user gave it, for messages
  std::string target_;  // the same with symbolic links resolved
  std::string folder_;
  std::string temporary_;  // empty while the file has no name
  Descriptor file_;
};

// A regular file, open for reading; never a pipe that would block or a device without an end.
class InputFile {
 public:
  explicit InputFile(const std::string& path);

  uint64_t size() const { return size_; }
  void read(void* data, size_t bytes, uint64_t offset) const;

 private:
  std::string path_;
  Descriptor file_;
  uint64_t size_ = 0;
};

}  // namespace lanner
