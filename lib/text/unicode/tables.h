// Unicode data as Hugging Face tokenizers has it: classes of Unicode 16.0 for the split of text into
// words, canonical normalisation of Unicode 9.0 for NFC. tables.cpp is written by generate.py.
#pragma once

#include <cstddef>
#include <cstdint>

namespace mm2::unicode {

/// What the split, NFC and the added tokens ask of a character.
enum Flag : uint8_t {
  kHead = 1,      // Lu Lt Lm Lo M: may stand in the head of a word
  kTail = 2,      // Ll Lm Lo M: may stand in the tail of a word
  kLetter = 4,    // L
  kNumber = 8,    // N
  kSpace = 16,    // White_Space
  kNewline = 32,  // CR, LF
  kUnstable =
      64,       // NFC may change it, or text before it together with it; unset = NFC may cut here
  kWord = 128,  // L M N, connector punctuation, joiners
};

/// Full canonical decomposition: kDecomposedText[begin .. begin + length).
struct Decomposition {
  char32_t code_point;
  uint16_t begin;
  uint16_t length;
};

/// first, second -> composed, for pairs that NFC composes (Hangul is arithmetic, not listed).
struct Composition {
  char32_t first;
  char32_t second;
  char32_t composed;
};

extern const uint8_t kFlagStage1[0x1100];
extern const uint8_t kFlagBlocks[];
extern const uint8_t kCombiningStage1[0x1100];
extern const uint8_t kCombiningBlocks[];
extern const char32_t kDecomposedText[];
extern const Decomposition kDecompositions[];  // [kDecompositionCount], ascending code_point
extern const size_t kDecompositionCount;
extern const Composition kCompositions[];  // [kCompositionCount], ascending (first, second)
extern const size_t kCompositionCount;

/// Flags of a code point below 0x110000.
inline uint8_t flags(char32_t code_point) {
  return kFlagBlocks[kFlagStage1[code_point >> 8] * 256 + (code_point & 255)];
}

/// Canonical combining class of a code point below 0x110000.
inline uint8_t combining_class(char32_t code_point) {
  return kCombiningBlocks[kCombiningStage1[code_point >> 8] * 256 + (code_point & 255)];
}

}  // namespace mm2::unicode
