#include "unit/text/text_support.h"
