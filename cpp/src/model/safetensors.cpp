// The safetensors format: 8 bytes of little-endian header length, a JSON header, the data of all tensors without gaps.
//
//   {"__metadata__": {"key": "text"}, "weight": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ...}
//
// https://huggingface.co/docs/safetensors
#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "lanner/autodiff.h"
#include "lanner/file.h"
#include "lanner/ops/elementwise.h"
#include "model/atomic_file.h"

namespace lanner {
namespace {

static_assert(std::endian::native == std::endian::little, "the data of a safetensors file is little-endian");

using json = nlohmann::json;

constexpr uint64_t kLengthBytes = 8;
constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // of the reference implementation
constexpr uint64_t kDataAlignment = 64;            // so that a mapped file is aligned like lanner's own memory
constexpr const char* kMetadataKey = "__metadata__";

struct DTypeName {
  DType dtype;
  const char* name;
};
constexpr DTypeName kDTypeNames[] = {
    {DType::Bool, "BOOL"},   {DType::UInt8, "U8"},    {DType::UInt16, "U16"},    {DType::UInt32, "U32"},
    {DType::UInt64, "U64"},  {DType::Int8, "I8"},     {DType::Int16, "I16"},     {DType::Int32, "I32"},
    {DType::Int64, "I64"},   {DType::Float16, "F16"}, {DType::BFloat16, "BF16"}, {DType::Float32, "F32"},
    {DType::Float64, "F64"},
};

const char* format_name(DType dtype) {
  for (const DTypeName& entry : kDTypeNames)
    if (entry.dtype == dtype) return entry.name;
  return nullptr;
}

// Text from a file or a user, for messages: shortened, with what is not UTF-8 or not printable escaped.
std::string printable(const std::string& text) {
  constexpr size_t kMaxShown = 200;
  const std::string cut = text.size() <= kMaxShown ? text : text.substr(0, kMaxShown) + "...";
  return json(cut).dump(-1, ' ', false, json::error_handler_t::replace);
}

// What the header says of one tensor.
struct Entry {
  std::string name;
  std::string dtype_name;
  std::vector<uint64_t> shape;
  std::vector<uint64_t> offsets;
  bool has_dtype = false, has_shape = false, has_offsets = false;
};

// Reads the header as it is parsed, and stops at the first token that does not belong: a hostile header costs no more
// than its length, however deep it nests.
class HeaderReader : public nlohmann::json_sax<json> {
 public:
  std::vector<Entry> entries;
  Metadata metadata;
  std::string error;

  bool null() override { return stray("null"); }
  bool boolean(bool) override { return stray("a boolean"); }
  bool number_integer(number_integer_t) override { return stray("a negative number"); }
  bool number_float(number_float_t, const string_t&) override { return stray("a fraction or a number too large"); }
  bool binary(binary_t&) override { return stray("binary data"); }

  bool number_unsigned(number_unsigned_t value) override {
    if (state_ == State::Shape) {
      entries.back().shape.push_back(value);
      return entries.back().shape.size() <= 64 ||
             fail("more than 64 axes in the shape of " + printable(entries.back().name));
    }
    if (state_ == State::Offsets) {
      entries.back().offsets.push_back(value);
      return entries.back().offsets.size() <= 2 ||
             fail("more than two data_offsets of " + printable(entries.back().name));
    }
    return stray("a number");
  }

  bool string(string_t& value) override {
    if (state_ == State::Metadata) {
      metadata[key_] = std::move(value);
      return true;
    }
    if (state_ == State::Entry && key_ == "dtype") {
      entries.back().dtype_name = std::move(value);
      return true;
    }
    return stray("a text");
  }

  bool start_object(size_t) override {
    if (state_ == State::Outside) {
      state_ = State::Top;
    } else if (state_ == State::Top) {
      if (key_ == kMetadataKey) {
        state_ = State::Metadata;
      } else {
        state_ = State::Entry;
        entries.push_back({});
        entries.back().name = key_;
      }
    } else {
      return stray("an object");
    }
    return true;
  }

  bool key(string_t& name) override {
    key_ = std::move(name);
    if (state_ == State::Top)
      return names_.insert(key_).second || fail("the name " + printable(key_) + " stands twice in the header");
    if (state_ == State::Metadata)
      return !metadata.contains(key_) || fail("the key " + printable(key_) + " stands twice in the metadata");
    Entry& entry = entries.back();
    bool* seen = key_ == "dtype"          ? &entry.has_dtype
                 : key_ == "shape"        ? &entry.has_shape
                 : key_ == "data_offsets" ? &entry.has_offsets
                                          : nullptr;
    if (!seen) return fail(printable(entry.name) + " has the unknown key " + printable(key_));
    if (*seen) return fail(printable(entry.name) + " has " + printable(key_) + " twice");
    return *seen = true;
  }

  bool end_object() override {
    if (state_ == State::Entry) {
      const Entry& entry = entries.back();
      if (!entry.has_dtype || !entry.has_shape || !entry.has_offsets)
        return fail(printable(entry.name) + " lacks its dtype, shape or data_offsets");
    }
    state_ = state_ == State::Top ? State::Outside : State::Top;
    return true;
  }

  bool start_array(size_t) override {
    if (state_ == State::Entry && key_ == "shape") {
      state_ = State::Shape;
    } else if (state_ == State::Entry && key_ == "data_offsets") {
      state_ = State::Offsets;
    } else {
      return stray("a list");
    }
    return true;
  }

  bool end_array() override {
    state_ = State::Entry;
    return true;
  }

  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception&) override {
    return fail("its header is not JSON at byte " + std::to_string(position));
  }

 private:
  enum class State { Outside, Top, Metadata, Entry, Shape, Offsets };

  bool fail(std::string message) {
    error = std::move(message);
    return false;
  }
  bool stray(const char* what) {
    return fail(std::string("its header has ") + what + " where none belongs" +
                (key_.empty() ? "" : ", after " + printable(key_)));
  }

  State state_ = State::Outside;
  std::string key_;
  std::set<std::string> names_;
};

// A tensor's place in the file, checked.
struct Place {
  const Entry* entry;
  DType dtype;
  Shape shape;
  uint64_t begin, end;
};

Place check_entry(const std::string& path, const Entry& entry, uint64_t data_bytes) {
  const std::string where = path + ": tensor " + printable(entry.name);
  const auto* known = std::find_if(std::begin(kDTypeNames), std::end(kDTypeNames),
                                   [&](const DTypeName& d) { return entry.dtype_name == d.name; });
  check<FormatError>(known != std::end(kDTypeNames), where, " has dtype ", printable(entry.dtype_name),
                     ", which lanner does not know");
  check<FormatError>(entry.shape.size() <= kMaxRank, where, " has ", entry.shape.size(), " axes; lanner has at most ",
                     kMaxRank);
  check<FormatError>(entry.offsets.size() == 2, where, " has ", entry.offsets.size(), " data_offsets, not two");

  Place place{&entry, known->dtype, {}, entry.offsets[0], entry.offsets[1]};
  // The sizes other than 0 are multiplied as well, since strides are made of them.
  int64_t bytes = static_cast<int64_t>(itemsize(place.dtype)), extent = bytes;
  for (uint64_t size : entry.shape) {
    const bool fits = size <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max()) &&
                      !__builtin_mul_overflow(extent, static_cast<int64_t>(std::max<uint64_t>(size, 1)), &extent);
    check<FormatError>(fits, where, " has a shape with more bytes than can be counted");
    bytes *= static_cast<int64_t>(size);
    place.shape.push_back(static_cast<int64_t>(size));
  }
  check<FormatError>(place.begin <= place.end && place.end <= data_bytes, where, " has data_offsets [", place.begin,
                     ", ", place.end, "]; the file has ", data_bytes, " bytes of data");
  check<FormatError>(place.end - place.begin == static_cast<uint64_t>(bytes), where, " of dtype ", entry.dtype_name,
                     " and shape ", place.shape, " takes ", bytes, " bytes, its data_offsets span ",
                     place.end - place.begin);
  return place;
}

// The data belongs to exactly one tensor each, from the first byte to the last.
void check_covered(const std::string& path, std::vector<Place> places, uint64_t data_bytes) {
  std::sort(places.begin(), places.end(),
            [](const Place& a, const Place& b) { return a.begin != b.begin ? a.begin < b.begin : a.end < b.end; });
  uint64_t covered = 0;
  for (const Place& place : places) {
    check<FormatError>(place.begin >= covered, path, ": tensor ", printable(place.entry->name),
                       " overlaps another one at byte ", place.begin, " of the data");
    check<FormatError>(place.begin == covered, path, ": bytes ", covered, " to ", place.begin,
                       " of the data belong to no tensor");
    covered = place.end;
  }
  check<FormatError>(covered == data_bytes, path, ": bytes ", covered, " to ", data_bytes,
                     " of the data belong to no tensor");
}

std::string make_header(const NamedTensors& tensors, const std::vector<uint64_t>& offsets, const Metadata& metadata) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header[kMetadataKey] = metadata;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const auto& [name, tensor] = tensors[i];
    const uint64_t bytes = static_cast<uint64_t>(tensor.size()) * itemsize(tensor.dtype());
    header[name] = {{"dtype", format_name(tensor.dtype())},
                    {"shape", std::vector<int64_t>(tensor.shape().begin(), tensor.shape().end())},
                    {"data_offsets", {offsets[i], offsets[i] + bytes}}};
  }
  return header.dump();
}

}  // namespace

void save_tensors(const std::string& path, const NamedTensors& tensors, const Metadata& metadata) {
  std::set<std::string> names{kMetadataKey};
  for (const auto& [name, tensor] : tensors) {
    check(name != kMetadataKey, "save: a tensor cannot have the name ", kMetadataKey);
    check(names.insert(name).second, "save: two tensors have the name ", printable(name));
    check(tensor.defined(), "save: tensor ", printable(name), " is undefined");
  }

  // Wide dtypes come first: every tensor then begins at a multiple of its item size.
  std::vector<size_t> order(tensors.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return itemsize(tensors[a].second.dtype()) > itemsize(tensors[b].second.dtype());
  });
  std::vector<uint64_t> offsets(tensors.size());
  uint64_t end = 0;
  for (size_t i : order) {
    offsets[i] = end;
    end += static_cast<uint64_t>(tensors[i].second.size()) * itemsize(tensors[i].second.dtype());
  }

  std::string header;
  try {
    header = make_header(tensors, offsets, metadata);
  } catch (const json::exception&) {
    throw Error("save: a name or a text of the metadata is not UTF-8");
  }
  const uint64_t unpadded = kLengthBytes + header.size();
  header.append((kDataAlignment - unpadded % kDataAlignment) % kDataAlignment, ' ');
  check(header.size() <= kMaxHeaderBytes, "save: names and metadata take ", header.size(), " bytes; the format allows ",
        kMaxHeaderBytes);

  AtomicFile file(path);
  const uint64_t length = header.size();
  file.write(&length, kLengthBytes);
  file.write(header.data(), header.size());
  const NoGrad no_grad;
  for (size_t i : order) {
    const Tensor tensor = ops::contiguous(tensors[i].second.detach());
    file.write(tensor.raw(), static_cast<size_t>(tensor.size()) * itemsize(tensor.dtype()));
  }
  file.commit();
}

TensorFile load_tensors(const std::string& file_path) {
  const InputFile file(file_path);
  const std::string path = printable(file_path);
  check<FormatError>(file.size() >= kLengthBytes, path, ": ", file.size(), " bytes are too few for a safetensors file");
  uint64_t length = 0;
  file.read(&length, kLengthBytes, 0);
  check<FormatError>(length <= kMaxHeaderBytes, path, ": not a safetensors file (its header would have ", length,
                     " bytes)");
  check<FormatError>(length <= file.size() - kLengthBytes, path, ": the file is cut off (its header has ", length,
                     " bytes, the file ", file.size(), ")");
  std::string header(length, '\0');
  file.read(header.data(), length, kLengthBytes);
  check<FormatError>(header.starts_with('{'), path, ": not a safetensors file (its header is not a JSON object)");

  HeaderReader reader;
  const bool parsed = json::sax_parse(header, &reader);
  check<FormatError>(parsed, path, ": ", reader.error);

  const uint64_t data_begin = kLengthBytes + length, data_bytes = file.size() - data_begin;
  std::vector<Place> places;
  for (const Entry& entry : reader.entries) places.push_back(check_entry(path, entry, data_bytes));
  check_covered(path, places, data_bytes);

  TensorFile result;
  result.metadata = std::move(reader.metadata);
  for (const Place& place : places) {
    Tensor tensor = Tensor::empty(place.shape, place.dtype);
    const uint64_t bytes = place.end - place.begin;
    file.read(tensor.raw(), bytes, data_begin + place.begin);
    if (place.dtype == DType::Bool) {
      const auto* value = static_cast<const uint8_t*>(tensor.raw());
      check<FormatError>(std::all_of(value, value + bytes, [](uint8_t b) { return b <= 1; }), path, ": tensor ",
                         printable(place.entry->name), " of dtype BOOL has bytes other than 0 and 1");
    }
    result.tensors.emplace_back(place.entry->name, std::move(tensor));
  }
  return result;
}

}  // namespace lanner
