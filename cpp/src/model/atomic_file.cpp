#include "model/atomic_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>

#include "lanner/file.h"

namespace lanner {
namespace {

// One read() or write() moves at most INT_MAX bytes on some systems.
constexpr size_t kMaxTransfer = size_t{1} << 30;

[[noreturn]] void throw_file_error(const std::string& path, const char* what, int code) {
  throw FileError(path + ": " + what + ": " + std::strerror(code), path, code);
}

void check_path(const std::string& path) {
  check(!path.empty(), "the path of a file is empty");
  check(path.find('\0') == std::string::npos, "the path of a file holds a null character");
}

// `path` with every symbolic link resolved, so that the rename replaces the file and not the link to it. A link to what
// does not exist yet, and a file that does not, stand for themselves.
std::string resolve(const std::string& path) {
  char* real = ::realpath(path.c_str(), nullptr);
  if (!real) return path;
  std::string resolved = real;
  std::free(real);
  return resolved;
}

std::string folder_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace

Descriptor::~Descriptor() {
  if (fd_ >= 0) ::close(fd_);
}

Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

AtomicFile::AtomicFile(const std::string& path) : path_(path) {
  check_path(path);
  target_ = resolve(path);
  folder_ = folder_of(target_);
  struct stat before {};
  const bool replaces = ::stat(target_.c_str(), &before) == 0;
  if (replaces && !S_ISREG(before.st_mode))
    throw_file_error(path_, "not a regular file", S_ISDIR(before.st_mode) ? EISDIR : EINVAL);

#ifdef O_TMPFILE
  // A file without a name leaves nothing behind, whatever ends the process. It gets its name through /proc.
  if (::access("/proc/self/fd", X_OK) == 0)
    file_ = Descriptor(::open(folder_.c_str(), O_TMPFILE | O_WRONLY | O_CLOEXEC, 0666));
#endif
  if (!file_.open()) {
    take_name();
    file_ = Descriptor(::open(temporary_.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0666));
    if (!file_.open()) {
      temporary_.clear();
      fail("cannot be written");
    }
  }
  if (replaces)
    ::fchmod(file_.get(), before.st_mode & 07777);  // a file keeps its permissions; 0666 & umask if it may not
}

AtomicFile::~AtomicFile() {
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

// Two threads and two processes never take the same.
void AtomicFile::take_name() {
  static std::atomic<unsigned> count{0};
  temporary_ = target_ + "." + std::to_string(::getpid()) + "-" + std::to_string(count++) + ".tmp";
}

void AtomicFile::fail(const char* what) const { throw_file_error(path_, what, errno); }

void AtomicFile::write(const void* data, size_t bytes) {
  const char* p = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t n = ::write(file_.get(), p, std::min(bytes, kMaxTransfer));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail("cannot be written");
    p += n;
    bytes -= static_cast<size_t>(n);
  }
}

void AtomicFile::commit() {
  while (::fsync(file_.get()) != 0)
    if (errno != EINTR) fail("cannot be synced to the disk");
  if (temporary_.empty()) {
    const std::string unnamed = "/proc/self/fd/" + std::to_string(file_.get());
    // linkat() names a file, but replaces none; where there is nothing to replace, no rename is needed.
    if (::linkat(AT_FDCWD, unnamed.c_str(), AT_FDCWD, target_.c_str(), AT_SYMLINK_FOLLOW) != 0) {
      if (errno != EEXIST) fail("cannot be written");
      take_name();
      ::unlink(temporary_.c_str());  // of a process that had the same number and was killed right here
      if (::linkat(AT_FDCWD, unnamed.c_str(), AT_FDCWD, temporary_.c_str(), AT_SYMLINK_FOLLOW) != 0) {
        temporary_.clear();
        fail("cannot be written");
      }
    }
  }
  if (!temporary_.empty()) {
    if (::rename(temporary_.c_str(), target_.c_str()) != 0) fail("cannot be replaced");
    temporary_.clear();
  }
  // The rename is in the folder, which is synced on its own; some file systems cannot, and need not, do that.
  const Descriptor folder(::open(folder_.c_str(), O_RDONLY | O_CLOEXEC));
  if (folder.open()) ::fsync(folder.get());
}

InputFile::InputFile(const std::string& path) : path_(path) {
  check_path(path);
  // Without O_NONBLOCK, opening a pipe waits for somebody who writes to it.
  file_ = Descriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!file_.open()) throw_file_error(path_, "cannot be opened", errno);
  struct stat info {};
  if (::fstat(file_.get(), &info) != 0) throw_file_error(path_, "cannot be opened", errno);
  if (!S_ISREG(info.st_mode)) throw_file_error(path_, "not a regular file", S_ISDIR(info.st_mode) ? EISDIR : EINVAL);
  size_ = static_cast<uint64_t>(info.st_size);
}

void InputFile::read(void* data, size_t bytes, uint64_t offset) const {
  char* p = static_cast<char*>(data);
  while (bytes > 0) {
    const ssize_t n = ::pread(file_.get(), p, std::min(bytes, kMaxTransfer), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw_file_error(path_, "cannot be read", errno);
    if (n == 0) throw_file_error(path_, "became shorter while it was read", EIO);
    p += n;
    offset += static_cast<uint64_t>(n);
    bytes -= static_cast<size_t>(n);
  }
}

}  // namespace lanner
