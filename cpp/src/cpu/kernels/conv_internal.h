// The parts of the conv family, for the table in conv.cpp.
#pragma once

#include "cpu/kernels/conv.h"

namespace lanner::cpu::LANNER_ISA {

extern const ConvWeightFunctions<float> conv_weight_f32;  // conv_weight.cpp
extern const ConvWeightFunctions<double> conv_weight_f64;

extern const ConvFunctions<float> conv_pointwise_f32;  // conv_pointwise.cpp
extern const ConvFunctions<double> conv_pointwise_f64;

extern const ConvFunctions<float> conv_samples_f32;  // conv_samples.cpp
extern const ConvFunctions<double> conv_samples_f64;
extern const ConvWeightFunctions<float> conv_samples_weight_f32;
extern const ConvWeightFunctions<double> conv_samples_weight_f64;

extern const ConvFunctions<float> conv_columns;              // conv_columns.cpp
extern const ConvFunctions<float> conv_amx, conv_amx_plain;  // conv_amx.cpp; the first only with AVX-512

extern const ConvFunctions<float> conv_gather_f32;  // conv_gather.cpp
extern const ConvFunctions<double> conv_gather_f64;

extern const ConvFunctions<float> conv_depthwise_f32;  // conv_depthwise.cpp
extern const ConvFunctions<double> conv_depthwise_f64;

// By tiles of 2 x 2 and of 4 x 4.
extern const ConvFunctions<float> conv_winograd_2, conv_winograd_4;  // conv_winograd.cpp
extern const ConvFunctions<float> conv_winograd_fresh;  // by 4 x 4, its weights transformed where they are used
extern const ConvWeightFunctions<float> conv_winograd_weight_2, conv_winograd_weight_4;  // conv_winograd_weight.cpp

extern const ConvFunctions<float> conv_split;               // conv_split.cpp
extern const ConvWeightFunctions<float> conv_split_weight;  // conv_split_weight.cpp

}  // namespace lanner::cpu::LANNER_ISA
