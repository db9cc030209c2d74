#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>

#include "lanner/file.h"

namespace lanner {
namespace {

namespace fs = std::filesystem;

class FileTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "lanner-XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    path_ = (folder_ / "file.safetensors").string();
  }
  void TearDown() override { fs::remove_all(folder_); }

  size_t files_in_folder() const {
    return static_cast<size_t>(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()));
  }

  // Writes a file of this header and so many bytes of data, and returns what reading it throws ("" if nothing).
  std::string error_of(const std::string& header, size_t data_bytes = 0) {
    std::string bytes(8, '\0');
    const uint64_t length = header.size();
    std::memcpy(bytes.data(), &length, 8);
    write(bytes + header + std::string(data_bytes, '\1'));
    return error();
  }
  std::string error() {
    try {
      load_tensors(path_);
    } catch (const FormatError& e) {
      EXPECT_NE(std::string(e.what()).find(path_), std::string::npos) << e.what();
      return e.what();
    }
    return "";
  }
  void write(const std::string& bytes) {
    std::ofstream(path_, std::ios::binary | std::ios::trunc)
        .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  }
  std::string read() {
    std::ifstream in(path_, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(in), {});
  }

  fs::path folder_;
  std::string path_;
};

Tensor counting(const Shape& shape, DType dtype) {
  Tensor t = Tensor::empty(shape, dtype);
  auto* bytes = static_cast<uint8_t*>(t.raw());
  for (size_t i = 0; i < static_cast<size_t>(t.size()) * itemsize(dtype); ++i)
    bytes[i] = static_cast<uint8_t>(dtype == DType::Bool ? i % 2 : i * 7 + 1);
  return t;
}

void expect_same(const Tensor& a, const Tensor& b) {
  ASSERT_EQ(a.dtype(), b.dtype());
  ASSERT_EQ(a.shape(), b.shape());
  EXPECT_EQ(std::memcmp(a.raw(), b.raw(), static_cast<size_t>(a.size()) * itemsize(a.dtype())), 0);
}

NamedTensors samples() {
  NamedTensors tensors;
  for (int i = 0; i < kDTypeCount; ++i) {
    const auto dtype = static_cast<DType>(i);
    tensors.emplace_back(dtype_name(dtype), counting({3, 5}, dtype));
    tensors.emplace_back(std::string(dtype_name(dtype)) + ".scalar", counting({}, dtype));
    tensors.emplace_back(std::string(dtype_name(dtype)) + ".empty", counting({2, 0, 3}, dtype));
  }
  return tensors;
}

TEST_F(FileTest, EveryDtypeComesBackInOrder) {
  const NamedTensors tensors = samples();
  const Metadata metadata{{"format", "lanner"}, {"text", "line\n\"quoted\" \xc3\xa9"}};
  save_tensors(path_, tensors, metadata);
  const TensorFile file = load_tensors(path_);
  EXPECT_EQ(file.metadata, metadata);
  ASSERT_EQ(file.tensors.size(), tensors.size());
  for (size_t i = 0; i < tensors.size(); ++i) {
    EXPECT_EQ(file.tensors[i].first, tensors[i].first);
    expect_same(file.tensors[i].second, tensors[i].second);
  }
  uint64_t length = 0;
  std::memcpy(&length, read().data(), 8);
  EXPECT_EQ((length + 8) % 64, 0u);
  EXPECT_EQ(files_in_folder(), 1u);
}

TEST_F(FileTest, NothingAtAll) {
  save_tensors(path_, {});
  EXPECT_TRUE(load_tensors(path_).tensors.empty());
  EXPECT_TRUE(load_tensors(path_).metadata.empty());
}

TEST_F(FileTest, AViewIsWrittenInItsOwnOrder) {
  const Tensor x = Tensor::from_vector<float>({0, 1, 2, 3, 4, 5}, {2, 3});
  save_tensors(path_, {{"x", x.view({3, 2}, {1, 3})}, {"column", x.view({2}, {3}, 1)}});
  const TensorFile file = load_tensors(path_);
  expect_same(file.tensors[0].second, Tensor::from_vector<float>({0, 3, 1, 4, 2, 5}, {3, 2}));
  expect_same(file.tensors[1].second, Tensor::from_vector<float>({1, 4}, {2}));
}

TEST_F(FileTest, NamesThatCannotBe) {
  const Tensor x = counting({2}, DType::Float32);
  EXPECT_THROW(save_tensors(path_, {{"x", x}, {"x", x}}), Error);
  EXPECT_THROW(save_tensors(path_, {{"__metadata__", x}}), Error);
  EXPECT_THROW(save_tensors(path_, {{"\xff", x}}), Error);
  EXPECT_THROW(save_tensors(path_, {{"x", Tensor()}}), Error);
  EXPECT_EQ(files_in_folder(), 0u);
}

TEST_F(FileTest, WhatTheSystemRefuses) {
  try {
    load_tensors(path_);
    FAIL();
  } catch (const FileError& e) {
    EXPECT_EQ(e.code(), ENOENT);
    EXPECT_EQ(e.path(), path_);
  }
  EXPECT_THROW(load_tensors(folder_.string()), FileError);
  EXPECT_THROW(load_tensors(""), Error);
  EXPECT_THROW(save_tensors(folder_.string(), {}), FileError);
  EXPECT_THROW(save_tensors((folder_ / "none" / "file").string(), {}), FileError);
  EXPECT_THROW(save_tensors("/dev/null", {}), FileError);
  EXPECT_THROW(load_tensors("/dev/zero"), FileError);
  ASSERT_EQ(::mkfifo(path_.c_str(), 0600), 0);
  EXPECT_THROW(load_tensors(path_), FileError);
}

TEST_F(FileTest, HostileHeaders) {
  const auto tensor = [](const char* dtype, const char* shape, const char* offsets) {
    return std::string("{\"dtype\":\"") + dtype + "\",\"shape\":" + shape + ",\"data_offsets\":" + offsets + "}";
  };
  const std::string good = tensor("F32", "[2]", "[0,8]");
  EXPECT_EQ(error_of("{\"x\":" + good + "}", 8), "");
  EXPECT_EQ(error_of("{\"x\":" + good + "}   ", 8), "");

  const auto expect = [&](const std::string& header, size_t data_bytes, const char* reason) {
    const std::string message = error_of(header, data_bytes);
    EXPECT_NE(message.find(reason), std::string::npos) << header << "\n" << message;
  };
  expect("", 0, "not a JSON object");
  expect("[]", 0, "not a JSON object");
  expect("{\"x\":" + good + "} x", 8, "not JSON");
  expect("{\"x\":" + good + ",\"x\":" + good + "}", 8, "twice");
  expect("{\"x\":" + good + ",\"y\":" + good + "}", 8, "overlaps");
  expect("{\"x\":" + good + ",\"y\":" + tensor("U8", "[1]", "[7,8]") + "}", 8, "overlaps");
  expect("{\"x\":" + good + ",\"y\":" + tensor("U8", "[1]", "[9,10]") + "}", 10, "belong to no tensor");
  expect("{\"x\":" + good + "}", 9, "belong to no tensor");
  expect("{\"x\":" + good + "}", 7, "has 7 bytes of data");
  expect("{\"x\":" + tensor("F32", "[3]", "[0,8]") + "}", 8, "takes 12 bytes");
  expect("{\"x\":" + tensor("F32", "[2]", "[8,0]") + "}", 8, "data_offsets [8, 0]");
  expect("{\"x\":" + tensor("F32", "[2]", "[0]") + "}", 8, "not two");
  expect("{\"x\":" + tensor("F32", "[2]", "[0,8,8]") + "}", 8, "more than two");
  expect("{\"x\":" + tensor("F32", "[2]", "[0,18446744073709551615]") + "}", 8, "bytes of data");
  expect("{\"x\":" + tensor("F32", "[4611686018427387904]", "[0,0]") + "}", 0, "more bytes than can be counted");
  expect("{\"x\":" + tensor("F32", "[4294967296,4294967296]", "[0,0]") + "}", 0, "more bytes than can be counted");
  expect("{\"x\":" + tensor("F32", "[0,18446744073709551615]", "[0,0]") + "}", 0, "more bytes than can be counted");
  expect("{\"x\":" + tensor("F32", "[0,4294967296,4294967296]", "[0,0]") + "}", 0, "more bytes than can be counted");
  expect("{\"x\":" + tensor("F32", "[99999999999999999999]", "[0,0]") + "}", 0, "where none belongs");
  expect("{\"x\":" + tensor("F32", "[-2]", "[0,8]") + "}", 8, "negative");
  expect("{\"x\":" + tensor("F32", "[2.0]", "[0,8]") + "}", 8, "fraction");
  expect("{\"x\":" + tensor("F32", "[1,1,1,1,1,1,1,1,2]", "[0,8]") + "}", 8, "9 axes");
  expect("{\"x\":" + tensor("F4", "[2]", "[0,8]") + "}", 8, "does not know");
  expect("{\"x\":" + tensor("BOOL", "[2]", "[0,2]") + ",\"y\":" + tensor("U8", "[1]", "[2,3]") + "}", 2,
         "bytes of data");
  expect("{\"x\":{\"dtype\":\"F32\",\"shape\":[2]}}", 8, "lacks");
  expect("{\"x\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "twice");
  expect("{\"x\":{\"dtype\":\"F32\",\"size\":[2],\"data_offsets\":[0,8]}}", 8, "unknown key");
  expect("{\"x\":{\"dtype\":1,\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "where none belongs");
  expect("{\"x\":null}", 0, "null");
  expect("{\"x\":[true]}", 0, "list");
  expect("{\"__metadata__\":{\"a\":1}}", 0, "where none belongs");
  expect("{\"__metadata__\":{\"a\":{}}}", 0, "object");
  expect("{\"__metadata__\":{\"a\":\"1\",\"a\":\"2\"}}", 0, "twice");
  expect("{\"__metadata__\":{},\"__metadata__\":{}}", 0, "twice");
  expect("{\"\xff\":" + good + "}", 8, "not JSON");
  expect("{\"x\":" + std::string(1'000'000, '['), 8, "list");
  expect("{\"x\":{\"dtype\":" + std::string(1'000'000, '{'), 8, "object");

  error_of("{\"x\":" + tensor("BOOL", "[2]", "[0,2]") + "}", 2);
  std::string bytes = read();
  bytes.back() = '\2';
  write(bytes);
  EXPECT_NE(error().find("other than 0 and 1"), std::string::npos);

  for (uint64_t length : {uint64_t{1}, uint64_t{100'000'001}, uint64_t{1} << 63, ~uint64_t{0}, ~uint64_t{0} - 7}) {
    write(std::string(reinterpret_cast<const char*>(&length), 8));
    EXPECT_NE(error(), "") << length;
  }
}

TEST_F(FileTest, CutOffAnywhere) {
  save_tensors(path_, {{"a", counting({3}, DType::Float32)}, {"b", counting({5}, DType::UInt8)}}, {{"key", "value"}});
  const std::string whole = read();
  for (size_t length = 0; length < whole.size(); ++length) {
    write(whole.substr(0, length));
    EXPECT_NE(error(), "") << length;
  }
}

// Whatever the damage: FormatError, or a file that happens to be in order.
TEST_F(FileTest, RandomDamage) {
  save_tensors(path_, {{"a", counting({3, 2}, DType::Float32)}, {"b", counting({5}, DType::Bool)}}, {{"key", "value"}});
  const std::string whole = read();
  std::mt19937 random(0);
  for (int round = 0; round < 1500; ++round) {
    std::string bytes = whole;
    for (unsigned flips = 1 + random() % 4; flips > 0; --flips)
      bytes[random() % bytes.size()] = static_cast<char>(random() % 3 ? random() : '0' + random() % 10);
    write(bytes);
    error();
  }
}

TEST_F(FileTest, AFailedSaveLeavesTheOldFile) {
  save_tensors(path_, {{"old", counting({4}, DType::Int32)}});
  const std::string before = read();
  // No file may grow past 4 KiB: the write fails in the middle, as on a full disk.
  const pid_t child = ::fork();
  if (child == 0) {
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{4096, 4096};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    try {
      save_tensors(path_, {{"new", counting({1 << 16}, DType::Float32)}});
    } catch (const FileError& e) {
      ::_exit(e.code() == EFBIG ? 0 : 2);
    }
    ::_exit(1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(read(), before);
  EXPECT_EQ(files_in_folder(), 1u);
}

TEST_F(FileTest, LinksAndPermissionsStay) {
  save_tensors(path_, {{"x", counting({2}, DType::Int8)}});
  ASSERT_EQ(::chmod(path_.c_str(), 0640), 0);
  const std::string link = (folder_ / "link").string();
  fs::create_symlink(path_, link);
  save_tensors(link, {{"y", counting({3}, DType::Int8)}});
  EXPECT_TRUE(fs::is_symlink(link));
  EXPECT_EQ(load_tensors(path_).tensors[0].first, "y");
  struct stat info {};
  ::stat(path_.c_str(), &info);
  EXPECT_EQ(info.st_mode & 0777, 0640u);
}

}  // namespace
}  // namespace lanner
