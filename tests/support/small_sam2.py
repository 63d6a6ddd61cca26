"""SAM 2 with its official structure and hardly any weights."""

import torch
from omegaconf import OmegaConf

from meddistill.teachers import sam2


def small_yaml(tmp_path, image_size=1024):
    """A SAM 2.1 description with the official structure and a fraction of the width."""
    config = OmegaConf.load(sam2.packaged_yaml("sam2.1/sam2.1_hiera_t.yaml"))
    model, width = config.model, 32
    model.image_size = image_size
    trunk, neck = model.image_encoder.trunk, model.image_encoder.neck
    trunk.embed_dim, trunk.stages, trunk.global_att_blocks = 8, [1, 1, 2, 1], [3]
    neck.backbone_channel_list, neck.d_model = [64, 32, 16, 8], width
    neck.position_encoding.num_pos_feats = width
    attention = model.memory_attention
    attention.num_layers, attention.d_model, attention.layer.d_model = 1, width, width
    attention.layer.dim_feedforward = 32
    attention.layer.self_attention.embedding_dim = attention.layer.cross_attention.embedding_dim = (
        width
    )
    attention.layer.cross_attention.kv_in_dim = 8
    memory = model.memory_encoder
    memory.out_dim, memory.position_encoding.num_pos_feats = 8, 8
    memory.fuser.layer.dim, memory.fuser.num_layers = width, 1
    memory.in_dim = memory.mask_downsampler.embed_dim = width
    path = tmp_path / "small.yaml"
    OmegaConf.save(config, path)
    return path


def sees(network, something=True):
    """The network, which holds that something is there (or that nothing is), and whose memories
    weigh as much as what it sees: at random they hardly count."""
    with torch.no_grad():
        network.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.fill_(
            9.0 if something else -9.0
        )
        network.memory_encoder.out_proj.weight.mul_(20)
        for layer in network.memory_attention.layers:
            layer.cross_attn_image.v_proj.weight.mul_(5)
            layer.cross_attn_image.k_proj.weight.mul_(5)
    return network
