// A test that runs once with the kernels of each instruction set that the machine has.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "cpu/dispatch.h"

namespace lanner {

class EachIsa : public testing::TestWithParam<const cpu::KernelTable*> {
 protected:
  void SetUp() override {
    before_ = cpu::kernels().isa;
    cpu::set_isa(GetParam()->isa);
  }
  void TearDown() override { cpu::set_isa(before_); }

 private:
  std::string before_;
};

}  // namespace lanner

// Runs the TEST_P of `Fixture`, EachIsa or a class of its own made from it.
#define LANNER_ON_EACH_ISA(Fixture)                                                   \
  INSTANTIATE_TEST_SUITE_P(Isa, Fixture, testing::ValuesIn(lanner::cpu::available()), \
                           [](const auto& info) { return info.param->isa; })
