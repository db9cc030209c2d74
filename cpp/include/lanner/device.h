#pragma once

#include <cstdint>
#include <string>

namespace lanner {

enum class DeviceType : uint8_t { Cpu, Cuda };

struct Device {
  DeviceType type = DeviceType::Cpu;
  int index = 0;

  // "cpu", "cuda", "cuda:1". Throws DeviceError for other words, and for a device that is not there.
  static Device parse(const std::string& text);
  friend bool operator==(const Device&, const Device&) = default;
};
std::string to_string(Device device);

}  // namespace lanner
