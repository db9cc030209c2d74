#include "lanner/device.h"

#include "lanner/error.h"

namespace lanner {

Device Device::parse(const std::string& text) {
  if (text == "cpu" || text == "cpu:0") return {};
  check<DeviceError>(text == "cuda" || text.rfind("cuda:", 0) == 0, "device: expected 'cpu', 'cuda' or 'cuda:1', got '",
                     text, "'");
  throw DeviceError("device '" + text + "' is not there: this build of lanner has no CUDA backend");
}

std::string to_string(Device device) {
  return device.type == DeviceType::Cpu ? "cpu" : "cuda:" + std::to_string(device.index);
}

}  // namespace lanner
