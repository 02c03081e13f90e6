#!/usr/bin/env python3
"""Golden data of adapters on whole models: experts, attention and shared experts of several families.

Needs torch, transformers 5.17 and peft 0.21. Tiny random models, float64 deltas, CPU, well under a minute:

    python3 scripts/golden/families.py OUT

writes OUT/families.tar: for each family a folder with PEFT adapters (adapter_config.json and
adapter_model.safetensors, as save_pretrained writes them) and deltas.safetensors, which holds what each
adapter adds to each weight, as PEFT itself computes it in float64:

    ADAPTER|layer|GATE_UP or DOWN   [E, out, in]   routed experts, in and out of the projection
    ADAPTER|module path             [out, in]      linear layers outside the routed experts

and model.json: sizes, order of gate and up, layers. A family that these versions cannot build is named on
standard error and left out; the list of those that are there is families.json.
"""

import json
import sys
import tarfile
import tempfile
from pathlib import Path

import torch
import transformers
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file

H, I, E, LAYERS, HEADS = 16, 12, 4, 2, 2

COMMON = dict(
    vocab_size=64,
    hidden_size=H,
    num_hidden_layers=LAYERS,
    num_attention_heads=HEADS,
    num_key_value_heads=1,
    head_dim=8,
    max_position_embeddings=64,
)

# model class, config class, sizes, names of linear layers outside the routed experts
FAMILIES = {
    "lfm2_moe": ("Lfm2MoeForCausalLM", "Lfm2MoeConfig",
                 dict(intermediate_size=20, moe_intermediate_size=I, num_experts=E, num_experts_per_tok=2,
                      num_dense_layers=0, layer_types=["full_attention"] * LAYERS), ["q_proj", "v_proj"]),
    "llama4_text": ("Llama4ForCausalLM", "Llama4TextConfig",
                    dict(intermediate_size=I, intermediate_size_mlp=20, num_local_experts=E, num_experts_per_tok=1,
                         interleave_moe_layer_step=1), ["q_proj", "o_proj", "shared_expert.up_proj"]),
    "granitemoe": ("GraniteMoeForCausalLM", "GraniteMoeConfig",
                   dict(intermediate_size=I, num_local_experts=E, num_experts_per_tok=2), ["q_proj", "o_proj"]),
    "gemma4_text": ("Gemma4ForCausalLM", "Gemma4TextConfig",
                    dict(intermediate_size=20, moe_intermediate_size=I, num_experts=E, top_k_experts=2,
                         enable_moe_block=True, hidden_size_per_layer_input=0), ["q_proj", "mlp.up_proj"]),
    "qwen3_next": ("Qwen3NextForCausalLM", "Qwen3NextConfig",
                   dict(intermediate_size=20, moe_intermediate_size=I, num_experts=E, num_experts_per_tok=2,
                        shared_expert_intermediate_size=10, layer_types=["full_attention"] * LAYERS,
                        mlp_only_layers=[], decoder_sparse_step=1), ["q_proj", "o_proj"]),
    "deepseek_v3": ("DeepseekV3ForCausalLM", "DeepseekV3Config",
                    dict(intermediate_size=20, moe_intermediate_size=I, n_routed_experts=E, num_experts_per_tok=2,
                         n_shared_experts=1, first_k_dense_replace=1, n_group=1, topk_group=1, q_lora_rank=16,
                         kv_lora_rank=16, qk_rope_head_dim=8, qk_nope_head_dim=8, v_head_dim=8,
                         num_key_value_heads=HEADS),
                    ["q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj",
                     "shared_experts.down_proj"]),
}


def experts_of(model):
    """Path and module of every routed experts module."""
    for name, module in model.named_modules():
        if name.endswith("experts") and isinstance(getattr(module, "gate_up_proj", None), torch.nn.Parameter):
            yield name, module


def layer_of(name):
    parts = name.split(".")
    return int(parts[parts.index("layers") + 1])


def out_in(name, delta):
    """[E, out, in]: gate and up have H inputs, down has I of them."""
    inputs = H if name.endswith("gate_up_proj") else I
    return delta if delta.shape[-1] == inputs else delta.transpose(1, 2)


def build(family):
    model_class, config_class, sizes, _ = FAMILIES[family]
    config = getattr(transformers, config_class)(**{**COMMON, **sizes})
    torch.manual_seed(7)
    return getattr(transformers, model_class)(config).to(torch.float64).eval()


def adapters(family):
    """Name and LoRA config of each adapter; the numbers of layers and modules are the model's."""
    dense = FAMILIES[family][3]
    parameters = ["experts.gate_up_proj", "experts.down_proj"]
    yield "experts", dict(r=2, lora_alpha=3, target_modules=[], target_parameters=parameters)
    yield "whole", dict(r=3, lora_alpha=5, target_modules=dense, target_parameters=parameters)
    yield "patterns", dict(r=4, lora_alpha=8, use_rslora=True, target_modules=dense, target_parameters=parameters,
                           rank_pattern={dense[0]: 2, "experts.down_proj": 3}, alpha_pattern={"gate_up_proj": 6})
    yield "dense", dict(r=2, lora_alpha=3, target_modules=dense)


def deltas(base, merged):
    """What merging changed, by parameter."""
    before = dict(base.named_parameters())
    return {name: merged_value.detach() - before[name].detach()
            for name, merged_value in merged.named_parameters()
            if not torch.equal(merged_value, before[name])}


def write(family, folder):
    base = build(family)
    experts = {name: module for name, module in experts_of(base)}
    golden = {}
    for name, options in adapters(family):
        peft_model = get_peft_model(build(family), LoraConfig(init_lora_weights=False, **options),
                                    autocast_adapter_dtype=False)
        generator = torch.Generator().manual_seed(sum(map(ord, family + name)))
        with torch.no_grad():
            for parameter_name, parameter in peft_model.named_parameters():
                if "lora_" in parameter_name:
                    # float32 holds them, so the file does
                    values = torch.randn(parameter.shape, generator=generator, dtype=torch.float32) / 4
                    parameter.copy_(values.to(parameter.dtype))
        target = folder / name
        # the adapter alone in the file's type; the base weights stay float64
        cast_adapter(peft_model, torch.float32)
        peft_model.save_pretrained(str(target), save_embedding_layers=False)
        cast_adapter(peft_model, torch.float64)
        (target / "README.md").unlink(missing_ok=True)
        merged = peft_model.merge_and_unload()
        for parameter, delta in deltas(base, merged).items():
            module = parameter.rsplit(".", 1)[0]
            if module in experts:
                projection = "DOWN" if parameter.endswith("down_proj") else "GATE_UP"
                golden[f"{name}|{layer_of(parameter)}|{projection}"] = out_in(parameter, delta).contiguous()
            else:
                golden[f"{name}|{module}"] = delta.contiguous()
    save_file(golden, str(folder / "deltas.safetensors"))
    model = dict(hiddenSize=H, intermediateSize=I, experts=E, gateUp="HALVES",
                 layers=sorted(layer_of(name) for name in experts))
    (folder / "model.json").write_text(json.dumps(model) + "\n")


def cast_adapter(peft_model, dtype):
    for name, parameter in peft_model.named_parameters():
        if "lora_" in name:
            parameter.data = parameter.data.to(dtype)


def main(out):
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        root = Path(work)
        written = []
        for family in FAMILIES:
            folder = root / family
            folder.mkdir()
            try:
                write(family, folder)
                written.append(family)
                print(f"{family}: {sum(f.stat().st_size for f in folder.rglob('*') if f.is_file())} bytes")
            except Exception as error:  # a family that these versions lack must not cost the others
                print(f"{family}: left out: {type(error).__name__}: {error}", file=sys.stderr)
        (root / "families.json").write_text(json.dumps({"families": written}) + "\n")
        with tarfile.open(out / "families.tar", "w") as tar:
            for path in sorted(root.rglob("*")):
                if path.is_file() and (path.parent == root or path.parts[len(root.parts)] in written):
                    tar.add(path, arcname=str(path.relative_to(root)))
    print(f"{out / 'families.tar'}: {(out / 'families.tar').stat().st_size} bytes, {len(written)} families")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
