#include "storage/flash/aligned_buffer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

namespace glint {
namespace {

using ::testing::HasSubstr;

TEST(AlignedBufferTest, IsZeroedAndPageAlignedAndRoundedUp) {
  Result<AlignedBuffer> buffer = AlignedBuffer::Allocate(5000);
  ASSERT_TRUE(buffer.ok());
  EXPECT_EQ(buffer->bytes(), 2 * kPageBytes);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer->data()) % kPageBytes, 0u);
  EXPECT_TRUE(std::ranges::all_of(buffer->span(), [](std::byte b) { return b == std::byte{0}; }));
}

TEST(AlignedBufferTest, WhatNoSystemHasIsRefusedByName) {
  for (const uint64_t bytes : {uint64_t{1} << 60, UINT64_MAX}) {
    const Result<AlignedBuffer> buffer = AlignedBuffer::Allocate(bytes);
    ASSERT_FALSE(buffer.ok());
    EXPECT_EQ(buffer.status().code(), StatusCode::kOutOfBudget);
    EXPECT_THAT(buffer.status().message(), HasSubstr(std::to_string(bytes)));
  }
}

TEST(AlignedBufferTest, NothingIsAnEmptyBuffer) {
  Result<AlignedBuffer> buffer = AlignedBuffer::Allocate(0);
  ASSERT_TRUE(buffer.ok());
  EXPECT_EQ(buffer->bytes(), 0u);
  EXPECT_TRUE(buffer->span().empty());
}

TEST(AlignedBufferTest, MovingHandsTheMemoryOn) {
  Result<AlignedBuffer> first = AlignedBuffer::Allocate(100);
  ASSERT_TRUE(first.ok());
  first->data()[7] = std::byte{42};
  AlignedBuffer second = std::move(first).value();
  AlignedBuffer third;
  third = std::move(second);
  EXPECT_EQ(third.data()[7], std::byte{42});
  EXPECT_EQ(third.bytes(), kPageBytes);
}

TEST(ArenaTest, PiecesAreAlignedAndDoNotOverlap) {
  Result<AlignedBuffer> buffer = AlignedBuffer::Allocate(4 * kPageBytes);
  ASSERT_TRUE(buffer.ok());
  // The memory need not begin aligned: addresses count.
  Arena arena(buffer->span().subspan(8));
  const std::byte* end = buffer->data();
  for (const uint64_t alignment : {1, 64, 8, 4096, 2, 512}) {
    const std::span<std::byte> piece = arena.Take(100, alignment);
    EXPECT_EQ(piece.size(), 100u);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(piece.data()) % alignment, 0u);
    EXPECT_GE(piece.data(), end);
    end = piece.data() + piece.size();
  }
  EXPECT_EQ(arena.taken_bytes(), static_cast<uint64_t>(end - buffer->data()) - 8);
}

TEST(ArenaTest, GivesAllThatItHasAndNoMore) {
  Result<AlignedBuffer> buffer = AlignedBuffer::Allocate(kPageBytes);
  ASSERT_TRUE(buffer.ok());
  Arena arena(buffer->span());
  EXPECT_EQ(arena.TakeArray<float>(kPageBytes / sizeof(float)).size(), kPageBytes / sizeof(float));
  EXPECT_EQ(arena.taken_bytes(), kPageBytes);
  EXPECT_DEATH((void)arena.Take(1, 1), "check failed");
}

}  // namespace
}  // namespace glint
