// A step that ends early: what a plan's replay looks at behind each op that may ask for it.
#pragma once

namespace lanner {

// Of this thread: whether an op that ran since it was last cleared wants what follows left out.
bool& halt_requested();

}  // namespace lanner
