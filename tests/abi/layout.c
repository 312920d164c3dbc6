/* Prints where every field of every public struct lies, as a C compiler sees it.
 * tests/abi/abi_test.py compares it with golden/layout.txt and checks that the fields of each
 * struct leave no gap. */
#include <stdio.h>

#include "mm2/mm2.h"

#define STRUCT(type) printf("%s %lu\n", #type, (unsigned long)sizeof(type))
#define FIELD(type, field)                                               \
  printf("  %s %lu %lu\n", #field, (unsigned long)offsetof(type, field), \
         (unsigned long)sizeof(((type*)0)->field))

static void status_and_host(void) {
  STRUCT(mm2_error);
  FIELD(mm2_error, struct_size);
  FIELD(mm2_error, code);
  FIELD(mm2_error, domain);
  FIELD(mm2_error, native_code);
  FIELD(mm2_error, message);

  STRUCT(mm2_allocator);
  FIELD(mm2_allocator, struct_size);
  FIELD(mm2_allocator, reserved);
  FIELD(mm2_allocator, user_data);
  FIELD(mm2_allocator, allocate);
  FIELD(mm2_allocator, release);

  STRUCT(mm2_executor);
  FIELD(mm2_executor, struct_size);
  FIELD(mm2_executor, n_workers);
  FIELD(mm2_executor, user_data);
  FIELD(mm2_executor, parallel_for);

  STRUCT(mm2_log);
  FIELD(mm2_log, struct_size);
  FIELD(mm2_log, level);
  FIELD(mm2_log, user_data);
  FIELD(mm2_log, write);

  STRUCT(mm2_progress);
  FIELD(mm2_progress, struct_size);
  FIELD(mm2_progress, stage);
  FIELD(mm2_progress, done);
  FIELD(mm2_progress, total);
  FIELD(mm2_progress, subject);

  STRUCT(mm2_source);
  FIELD(mm2_source, struct_size);
  FIELD(mm2_source, reserved);
  FIELD(mm2_source, user_data);
  FIELD(mm2_source, open);
  FIELD(mm2_source, read_at);
  FIELD(mm2_source, map);
  FIELD(mm2_source, close);

  STRUCT(mm2_host);
  FIELD(mm2_host, struct_size);
  FIELD(mm2_host, reserved);
  FIELD(mm2_host, allocator);
  FIELD(mm2_host, executor);
  FIELD(mm2_host, log);
  FIELD(mm2_host, source);
  FIELD(mm2_host, progress);
  FIELD(mm2_host, progress_user_data);
}

static void model(void) {
  STRUCT(mm2_model_options);
  FIELD(mm2_model_options, struct_size);
  FIELD(mm2_model_options, device);
  FIELD(mm2_model_options, device_index);
  FIELD(mm2_model_options, isa);
  FIELD(mm2_model_options, metadata_only);
  FIELD(mm2_model_options, map_weights);
  FIELD(mm2_model_options, n_threads);
  FIELD(mm2_model_options, reserved);
  FIELD(mm2_model_options, packed_cache);
  FIELD(mm2_model_options, host);
  FIELD(mm2_model_options, comm);
  FIELD(mm2_model_options, device_plugin);

  STRUCT(mm2_model_info);
  FIELD(mm2_model_info, struct_size);
  FIELD(mm2_model_info, n_layers);
  FIELD(mm2_model_info, hidden);
  FIELD(mm2_model_info, n_heads);
  FIELD(mm2_model_info, n_kv_heads);
  FIELD(mm2_model_info, head_dim);
  FIELD(mm2_model_info, rotary_dim);
  FIELD(mm2_model_info, n_experts);
  FIELD(mm2_model_info, top_k);
  FIELD(mm2_model_info, intermediate);
  FIELD(mm2_model_info, n_vocab);
  FIELD(mm2_model_info, reserved);
  FIELD(mm2_model_info, max_positions);
  FIELD(mm2_model_info, rope_theta);
  FIELD(mm2_model_info, n_parameters);
  FIELD(mm2_model_info, weight_bytes);
  FIELD(mm2_model_info, active_bytes_per_token);
  FIELD(mm2_model_info, device);
  FIELD(mm2_model_info, isa);
  FIELD(mm2_model_info, has_weights);
  FIELD(mm2_model_info, activations);
}

static void engine(void) {
  STRUCT(mm2_engine_options);
  FIELD(mm2_engine_options, struct_size);
  FIELD(mm2_engine_options, max_seqs);
  FIELD(mm2_engine_options, max_tokens_per_step);
  FIELD(mm2_engine_options, max_outputs_per_step);
  FIELD(mm2_engine_options, kv_tokens);
  FIELD(mm2_engine_options, kv_block_size);
  FIELD(mm2_engine_options, kv_dtype);
  FIELD(mm2_engine_options, activations);
  FIELD(mm2_engine_options, prefix_cache);
  FIELD(mm2_engine_options, n_threads);
  FIELD(mm2_engine_options, kv_scales);
  FIELD(mm2_engine_options, host);
  FIELD(mm2_engine_options, device_stream);
  FIELD(mm2_engine_options, device_kernels);
  FIELD(mm2_engine_options, reserved);

  STRUCT(mm2_engine_info);
  FIELD(mm2_engine_info, struct_size);
  FIELD(mm2_engine_info, max_seqs);
  FIELD(mm2_engine_info, max_tokens_per_step);
  FIELD(mm2_engine_info, max_outputs_per_step);
  FIELD(mm2_engine_info, kv_tokens);
  FIELD(mm2_engine_info, kv_blocks);
  FIELD(mm2_engine_info, max_positions);
  FIELD(mm2_engine_info, kv_block_size);
  FIELD(mm2_engine_info, kv_dtype);
  FIELD(mm2_engine_info, activations);
  FIELD(mm2_engine_info, prefix_cache);
  FIELD(mm2_engine_info, n_threads);
  FIELD(mm2_engine_info, device);
  FIELD(mm2_engine_info, isa);
  FIELD(mm2_engine_info, n_vocab);

  STRUCT(mm2_memory);
  FIELD(mm2_memory, struct_size);
  FIELD(mm2_memory, reserved);
  FIELD(mm2_memory, host_weights);
  FIELD(mm2_memory, host_kv);
  FIELD(mm2_memory, host_buffers);
  FIELD(mm2_memory, device_weights);
  FIELD(mm2_memory, device_kv);
  FIELD(mm2_memory, device_buffers);
  FIELD(mm2_memory, load_peak_host);
  FIELD(mm2_memory, load_peak_device);

  STRUCT(mm2_seq_rows);
  FIELD(mm2_seq_rows, seq_id);
  FIELD(mm2_seq_rows, first_position);
  FIELD(mm2_seq_rows, n_tokens);
  FIELD(mm2_seq_rows, n_outputs);

  STRUCT(mm2_batch);
  FIELD(mm2_batch, struct_size);
  FIELD(mm2_batch, n_seqs);
  FIELD(mm2_batch, seqs);
  FIELD(mm2_batch, tokens);
  FIELD(mm2_batch, n_tokens);
  FIELD(mm2_batch, reserved);
}

static void sampler(void) {
  STRUCT(mm2_logit_bias);
  FIELD(mm2_logit_bias, token);
  FIELD(mm2_logit_bias, bias);

  STRUCT(mm2_sampler_options);
  FIELD(mm2_sampler_options, struct_size);
  FIELD(mm2_sampler_options, top_k);
  FIELD(mm2_sampler_options, temperature);
  FIELD(mm2_sampler_options, top_p);
  FIELD(mm2_sampler_options, min_p);
  FIELD(mm2_sampler_options, repetition_penalty);
  FIELD(mm2_sampler_options, frequency_penalty);
  FIELD(mm2_sampler_options, presence_penalty);
  FIELD(mm2_sampler_options, penalty_window);
  FIELD(mm2_sampler_options, n_logprobs);
  FIELD(mm2_sampler_options, n_biases);
  FIELD(mm2_sampler_options, n_tokens);
  FIELD(mm2_sampler_options, biases);
  FIELD(mm2_sampler_options, seed);
  FIELD(mm2_sampler_options, logprobs);
  FIELD(mm2_sampler_options, reserved);
  FIELD(mm2_sampler_options, user_data);
  FIELD(mm2_sampler_options, edit_logits);

  STRUCT(mm2_token_logprob);
  FIELD(mm2_token_logprob, token);
  FIELD(mm2_token_logprob, logprob);
}

static void chat(void) {
  STRUCT(mm2_budget);
  FIELD(mm2_budget, struct_size);
  FIELD(mm2_budget, max_depth);
  FIELD(mm2_budget, max_steps);
  FIELD(mm2_budget, max_output_bytes);
  FIELD(mm2_budget, max_memory_bytes);

  STRUCT(mm2_parser_options);
  FIELD(mm2_parser_options, struct_size);
  FIELD(mm2_parser_options, mode);
  FIELD(mm2_parser_options, starts_in_think);
  FIELD(mm2_parser_options, reserved);
  FIELD(mm2_parser_options, tools_json);
  FIELD(mm2_parser_options, tools_json_length);

  STRUCT(mm2_event);
  FIELD(mm2_event, struct_size);
  FIELD(mm2_event, kind);
  FIELD(mm2_event, call_index);
  FIELD(mm2_event, incomplete);
  FIELD(mm2_event, data);
  FIELD(mm2_event, length);
}

int main(void) {
  status_and_host();
  model();
  engine();
  sampler();
  chat();
  return 0;
}
