#include "runtime/decoder.h"

#include <cmath>

#include "glint/base/check.h"
#include "runtime/attention.h"
#include "runtime/linear.h"
#include "runtime/ops.h"

namespace glint {

Status Decoder::Forward(std::span<const TokenId> tokens, uint32_t position, KvCache* kv,
                        const std::atomic<bool>& cancel) {
  GLINT_CHECK(!tokens.empty() && tokens.size() <= buffers_.batch_max);
  const auto token_count = static_cast<uint32_t>(tokens.size());
  Embed(tokens, position);
  for (uint32_t i = 0; i < config_.layer_count; ++i) {
    if (cancel.load(std::memory_order_relaxed)) return Cancelled("the step was cancelled");
    Attention(LayerIndex(i), token_count, position, kv);
    GLINT_RETURN_IF_ERROR(FeedForward(LayerIndex(i), token_count));
  }
  return Status::Ok();
}

// x = project_in(token_embedding[token]) + position_embedding[position + offset]
void Decoder::Embed(std::span<const TokenId> tokens, uint32_t position) {
  const DecoderBuffers& b = buffers_;
  const Matrix& embedding = weights_.token_embedding;
  const bool project = weights_.project_in.rows != 0;
  const std::span<float> out = project ? b.embedding : b.x;
  const uint64_t out_stride = project ? b.embedding_stride : b.hidden_stride;
  for (size_t t = 0; t < tokens.size(); ++t) {
    GLINT_CHECK(tokens[t] >= 0 && static_cast<uint32_t>(tokens[t]) < config_.vocab_size);
    DecodeRow(embedding.type, {embedding.Row(static_cast<uint32_t>(tokens[t])), embedding.stride},
              out.subspan(t * out_stride, embedding.columns));
  }
  const auto token_count = static_cast<uint32_t>(tokens.size());
  if (project) {
    const Activations in =
        buffers_.Describe(weights_.project_in.type, b.embedding, token_count, embedding.columns, out_stride);
    ApplyLinear(kernels_, pool_, weights_.project_in, {}, in, b.x.data(), b.hidden_stride);
  }
  const Matrix& positions = weights_.position_embedding;
  for (uint32_t t = 0; t < token_count; ++t) {
    const std::span<float> row = b.y.subspan(0, config_.hidden_size);
    DecodeRow(positions.type, {positions.Row(position + t + config_.position_offset), positions.stride}, row);
    AddInPlace(b.x.subspan(t * b.hidden_stride, config_.hidden_size), row);
  }
}

// x += output(attend(q, k, v)), with the norm before or after.
void Decoder::Attention(LayerIndex index, uint32_t token_count, uint32_t position, KvCache* kv) {
  const LayerWeights& layer = weights_.layers[index.value];
  const DecoderBuffers& b = buffers_;
  const uint64_t stride = b.hidden_stride;
  const std::span<const float> in = config_.norm_before ? b.normed : b.x;
  if (config_.norm_before) ApplyNorm(layer.attention_norm, b.x, token_count, b.normed);
  const Activations x = buffers_.Describe(layer.q.weight.type, in, token_count, config_.hidden_size, stride);
  ApplyLinear(kernels_, pool_, layer.q.weight, layer.q.bias, x, b.q.data(), stride);
  ApplyLinear(kernels_, pool_, layer.k.weight, layer.k.bias, x, b.k.data(), stride);
  ApplyLinear(kernels_, pool_, layer.v.weight, layer.v.bias, x, b.v.data(), stride);
  for (uint32_t t = 0; t < token_count; ++t) {
    ScaleInPlace(b.q.subspan(t * stride, config_.hidden_size),
                 1.0F / std::sqrt(static_cast<float>(config_.head_size())));
    kv->Store(index, position + t, b.k.subspan(t * stride, config_.hidden_size),
              b.v.subspan(t * stride, config_.hidden_size));
  }
  pool_->Run([&](uint32_t lane, uint32_t lanes) {
    const LaneRange heads = SplitRange(config_.head_count, 1, lane, lanes);
    const uint64_t scratch_floats = AttentionScratchFloats(config_.head_size());
    for (uint32_t t = 0; t < token_count; ++t) {
      Attend(kernels_, *kv, index, position + t, b.q.subspan(t * stride, config_.hidden_size),
             static_cast<uint32_t>(heads.begin), static_cast<uint32_t>(heads.end),
             b.attention.subspan(lane * scratch_floats, scratch_floats),
             b.attended.subspan(t * stride, config_.hidden_size));
    }
  });
  const Linear& output = layer.attention_output;
  const Activations attended =
      buffers_.Describe(output.weight.type, b.attended, token_count, config_.hidden_size, stride);
  ApplyLinear(kernels_, pool_, output.weight, output.bias, attended, b.y.data(), stride);
  AddToResidual({}, token_count);
  if (!config_.norm_before) ApplyNorm(layer.attention_norm, b.x, token_count, b.x);
}

// x += ffn(x), with the norm before or after.
Status Decoder::FeedForward(LayerIndex index, uint32_t token_count) {
  const LayerWeights& layer = weights_.layers[index.value];
  const DecoderBuffers& b = buffers_;
  const std::span<const float> in = config_.norm_before ? b.normed : b.x;
  if (config_.norm_before) ApplyNorm(layer.ffn_norm, b.x, token_count, b.normed);
  const Activations x =
      buffers_.Describe(ffn_->weight_type(index), in, token_count, config_.hidden_size, b.hidden_stride);
  GLINT_RETURN_IF_ERROR(ffn_->Run(index, x, b.y.subspan(0, token_count * b.hidden_stride)));
  AddToResidual(layer.down_bias, token_count);
  if (!config_.norm_before) ApplyNorm(layer.ffn_norm, b.x, token_count, b.x);
  return Status::Ok();
}

void Decoder::Logits(uint32_t index, std::span<float> out) {
  const DecoderBuffers& b = buffers_;
  std::span<float> last = b.x.subspan(index * b.hidden_stride, b.hidden_stride);
  if (config_.final_norm) {
    const std::span<float> normed = b.normed.subspan(0, b.hidden_stride);
    LayerNorm(last.first(config_.hidden_size), weights_.output_norm.weight, weights_.output_norm.bias,
              config_.norm_epsilon, normed.first(config_.hidden_size));
    last = normed;
  }
  uint64_t stride = b.hidden_stride;
  if (weights_.project_out.rows != 0) {
    const Activations in = buffers_.Describe(weights_.project_out.type, last, 1, config_.hidden_size, stride);
    ApplyLinear(kernels_, pool_, weights_.project_out, {}, in, b.embedding.data(), b.embedding_stride);
    last = b.embedding.first(b.embedding_stride);
    stride = b.embedding_stride;
  }
  const Activations in = buffers_.Describe(weights_.output.type, last, 1, weights_.output.columns, stride);
  ApplyLinear(kernels_, pool_, weights_.output, {}, in, out.data(), out.size());
}

// Tokens are split among the lanes; each is normed as if it were alone.
void Decoder::ApplyNorm(const Norm& norm, std::span<const float> x, uint32_t token_count, std::span<float> out) {
  const auto apply = [&](uint32_t lane, uint32_t lanes) {
    const LaneRange tokens = SplitRange(token_count, 1, lane, lanes);
    for (uint64_t t = tokens.begin; t < tokens.end; ++t) {
      const uint64_t offset = t * buffers_.hidden_stride;
      LayerNorm(x.subspan(offset, config_.hidden_size), norm.weight, norm.bias, config_.norm_epsilon,
                out.subspan(offset, config_.hidden_size));
    }
  };
  if (token_count == 1) {
    apply(0, 1);
  } else {
    pool_->Run(apply);
  }
}

// x += y + bias: bias and residual come last.
void Decoder::AddToResidual(std::span<const float> bias, uint32_t token_count) {
  for (uint32_t t = 0; t < token_count; ++t) {
    const uint64_t offset = t * buffers_.hidden_stride;
    const std::span<float> row = buffers_.y.subspan(offset, config_.hidden_size);
    if (!bias.empty()) AddInPlace(row, bias);
    AddInPlace(buffers_.x.subspan(offset, config_.hidden_size), row);
  }
}

}  // namespace glint
