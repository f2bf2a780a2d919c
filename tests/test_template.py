"""Any chat template as a renderer: what it would write itself, nothing that content could forge, and where to stop."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast

from models.renderer import Renderer, RenderError, Role, Turn, load_renderer
from models.template import TemplateRenderer
from tests.strategies import any_text, roles, to_turns

# A system message only at the start, where it is taken at all, then user and assistant in turns.
STRICT = (
    "{{ '<s>' }}{% if messages[0]['role'] == 'system' %}SYSTEM"
    "{% set loop_messages = messages[1:] %}{% else %}{% set loop_messages = messages %}{% endif %}"
    "{% for m in loop_messages %}"
    "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}"
    "{% if m['role'] == 'user' %}USER"
    "{% elif m['role'] == 'assistant' %}ASSISTANT"
    "{% else %}{{ raise_exception('only user and assistant') }}{% endif %}{% endfor %}"
)


@dataclass(frozen=True)
class Family:
    """A chat template as a family of models has it, the tokenizer's own end, and what ends a reply in the template."""

    template: str
    eos: str
    end: str
    dialect: str = "free"


def strict(system: str, user: str, assistant: str) -> str:
    return STRICT.replace("SYSTEM", system).replace("USER", user).replace("ASSISTANT", assistant)


FAMILIES = {
    "chatml": Family(
        "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
        "<|endoftext|>",
        "<|im_end|>",
    ),
    "mistral": Family(
        strict(
            "{{ '[SYS]' + messages[0]['content'] + '[/SYS]' }}",
            "{{ '[INST]' + m['content'] + '[/INST]' }}",
            "{{ m['content'] + '</s>' }}",
        ),
        "</s>",
        "</s>",
        "strict",
    ),
    # No system message anywhere; the tokenizer's own end is never written.
    "gemma": Family(
        strict(
            "{{ raise_exception('no system') }}",
            "{{ '<start_of_turn>user\n' + m['content'] + '<end_of_turn>\n' }}",
            "{{ '<start_of_turn>model\n' + m['content'] + '<end_of_turn>\n' }}",
        )
        + "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}",
        "<eos>",
        "<end_of_turn>",
        "no_system",
    ),
    # The tokenizer's end closes the whole conversation, after the reply's own.
    "phi": Family(
        "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + '<|end|>\n' }}{% endfor %}"
        "{{ '<|assistant|>\n' if add_generation_prompt else eos_token }}",
        "<|endoftext|>",
        "<|end|>",
    ),
    # Nothing but the next speaker's sign ends a turn.
    "glm": Family(
        "{{ '[gMASK]' }}{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}",
        "<|endoftext|>",
        "<|user|>",
    ),
}
DROPS_SYSTEM = "{% for m in messages %}{% if m['role'] != 'system' %}{{ m['content'] }}{% endif %}{% endfor %}"
PLAIN = "{% for m in messages %}{{ '### ' + m['role'] + ':\n' + m['content'] + '\n' }}{% endfor %}"
SPACED = strict("", "{{ '[INST] ' + m['content'] + ' [/INST]' }}", "{{ ' ' + m['content'] + ' </s>' }}")
MARKUP = (
    *("<|im_start|>", "<|im_end|>", "<s>", "</s>", "[SYS]", "[/SYS]", "[INST]", "[/INST]", "[gMASK]"),
    *("<start_of_turn>", "<end_of_turn>", "<eos>", "<|endoftext|>"),
    *("<|system|>", "<|user|>", "<|assistant|>", "<|end|>"),
)


def build_tokenizer(template: str, end: str | None) -> Any:
    """A byte-level tokenizer of its own, with all templates' markup as special tokens."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(special_tokens=list(MARKUP), initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(["user assistant system, hello there, who are you then?"] * 4, trainer)
    build: Any = PreTrainedTokenizerFast  # untyped in transformers
    return build(tokenizer_object=tokenizer, eos_token=end, chat_template=template)


RENDERERS = {
    name: TemplateRenderer(build_tokenizer(family.template, family.eos), name) for name, family in FAMILIES.items()
}
every_template = pytest.mark.parametrize("template", RENDERERS.values(), ids=RENDERERS.keys())
# What a session is: an optional greeting, then user and assistant in turns, the user's last.
dialogues = st.tuples(st.booleans(), st.lists(any_text, min_size=1, max_size=7).filter(lambda said: len(said) % 2 == 1))


def ids_of(renderer: TemplateRenderer, *tokens: str) -> list[int]:
    vocabulary = renderer._glue.get_vocab()
    return sorted(vocabulary[token] for token in tokens)


def dialogue_turns(renderer: Renderer, greeted: bool, said: list[str]) -> list[Turn]:
    speakers: list[Role] = ["user", "assistant"] * len(said)
    opening = [Turn("assistant", renderer.encode("hello"))] if greeted else []
    head = Turn("system", renderer.encode("you are somebody"))
    return [head, *opening, *(Turn(role, renderer.encode(text)) for role, text in zip(speakers, said, strict=False))]


def end_of(renderer: TemplateRenderer) -> int:
    """The id that the template ends a reply with."""
    [end] = ids_of(renderer, FAMILIES[renderer.fingerprint].end)
    return end


def marked(renderer: TemplateRenderer, turns: list[Turn]) -> list[int]:
    """The ids that the model is trained to write."""
    return [token for segment in renderer.segments(turns) if segment.is_reply for token in segment.token_ids]


def reference_text(renderer: TemplateRenderer, turns: list[Turn]) -> str:
    """What the template itself writes, given what the turns say."""
    messages = [{"role": turn.role, "content": renderer.decode(turn.token_ids)} for turn in turns]
    text: str = renderer._hf.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return text


@pytest.mark.parametrize("name", FAMILIES)
def test_replies_stop_at_the_templates_end_and_the_tokenizers(name: str) -> None:
    family, renderer = FAMILIES[name], RENDERERS[name]
    assert renderer.stop_token_ids == ids_of(renderer, *{family.end, family.eos})


def test_template_without_markup_stops_at_the_tokenizers_end_alone() -> None:
    renderer = TemplateRenderer(build_tokenizer(PLAIN, "</s>"), "plain")
    assert renderer.stop_token_ids == ids_of(renderer, "</s>")
    assert TemplateRenderer(build_tokenizer(PLAIN, None), "plain").stop_token_ids == []


def test_white_space_before_the_end_belongs_to_the_reply() -> None:
    renderer = TemplateRenderer(build_tokenizer(SPACED, None), "spaced")
    assert renderer.stop_token_ids == ids_of(renderer, "</s>")
    turns = to_turns(renderer, [("user", "a"), ("assistant", "b"), ("user", "c")])
    assert renderer.decode(marked(renderer, turns)) == "b </s>"


@pytest.mark.parametrize(("told", "names"), [(None, []), ("<|end|>", ["<|end|>"]), ("both", ["<|end|>", "<eos>"])])
def test_replies_stop_where_the_generation_config_says(told: str | None, names: list[str], tmp_path: Path) -> None:
    tokenizer = build_tokenizer(FAMILIES["chatml"].template, "<|endoftext|>")
    tokenizer.save_pretrained(tmp_path)
    ids = tokenizer.convert_tokens_to_ids(names)
    if told:
        config = {"eos_token_id": ids if told == "both" else ids[0]}
        (tmp_path / "generation_config.json").write_text(json.dumps(config))
    renderer = load_renderer(str(tmp_path))
    assert isinstance(renderer, TemplateRenderer)
    assert renderer.stop_token_ids == ids_of(renderer, "<|im_end|>", "<|endoftext|>", *names)


def test_load_renderer_reads_any_other_template(tmp_path: Path) -> None:
    build_tokenizer(FAMILIES["chatml"].template, "<|im_end|>").save_pretrained(tmp_path)
    loaded = load_renderer(str(tmp_path))
    assert isinstance(loaded, TemplateRenderer)
    other = build_tokenizer(PLAIN, "<|im_end|>")
    other.save_pretrained(tmp_path)
    assert loaded.fingerprint != load_renderer(str(tmp_path)).fingerprint


def test_load_renderer_refuses_a_model_without_template(tmp_path: Path) -> None:
    tokenizer = build_tokenizer(FAMILIES["chatml"].template, "<|im_end|>")
    tokenizer.chat_template = None
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(RenderError, match="no chat template"):
        load_renderer(str(tmp_path))


def test_template_that_drops_messages_is_refused() -> None:
    with pytest.raises(RenderError, match="can't render a conversation"):
        TemplateRenderer(build_tokenizer("{{ messages[-1]['content'] }}", "</s>"), "drops")


def test_template_that_drops_system_messages_gets_them_in_the_users_turn() -> None:
    renderer = TemplateRenderer(build_tokenizer(DROPS_SYSTEM, "</s>"), "drops")
    assert renderer.decode(renderer.render(to_turns(renderer, [("system", "a"), ("user", "b")]))) == "a\n\nb"


@pytest.mark.parametrize("name", FAMILIES)
def test_template_dialect_is_found(name: str) -> None:
    assert RENDERERS[name]._dialect == FAMILIES[name].dialect


@every_template
@given(dialogue=dialogues)
def test_template_renders_what_it_would_write(template: TemplateRenderer, dialogue: tuple[bool, list[str]]) -> None:
    turns = dialogue_turns(template, *dialogue)
    normal = template._normalize(turns, template._dialect or "free")
    rendered = template._tokenizer.decode(template.render(turns), skip_special_tokens=False)
    assert rendered == reference_text(template, normal)


@every_template
@given(dialogue=dialogues, reply=any_text)
def test_template_prompt_and_reply_are_a_prefix_of_the_next(
    template: TemplateRenderer, dialogue: tuple[bool, list[str]], reply: str
) -> None:
    turns = dialogue_turns(template, *dialogue)
    spoken = Turn("assistant", template.encode(reply))
    before = [*template.render(turns), *spoken.token_ids, end_of(template)]
    after = template.render([*turns, spoken, Turn("user", template.encode("and then"))])
    assert after[: len(before)] == before


@every_template
@given(dialogue=dialogues, begun=any_text)
def test_template_continues_an_open_turn(
    template: TemplateRenderer, dialogue: tuple[bool, list[str]], begun: str
) -> None:
    asked = dialogue_turns(template, *dialogue)
    prompt = template.render([*asked, Turn("assistant", template.encode(begun))])
    assert prompt == template.render(asked) + template.encode(begun)


@every_template
@given(dialogue=dialogues)
def test_template_loss_mask_is_the_replies_with_their_end(
    template: TemplateRenderer, dialogue: tuple[bool, list[str]]
) -> None:
    greeted, said = dialogue
    turns = dialogue_turns(template, greeted, [*said, "a reply", "and then"])
    replies = [turn.token_ids for turn in turns if turn.role == "assistant"]
    assert marked(template, turns) == [token for reply in replies for token in (*reply, end_of(template))]


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "glm"])  # which leaves the last turn open
def test_template_ends_the_last_reply_too(name: str) -> None:
    template = RENDERERS[name]
    turns = to_turns(template, [("user", "hello"), ("assistant", "the last reply")])
    assert marked(template, turns) == [*template.encode("the last reply"), end_of(template)]


@every_template
@given(said=st.lists(st.tuples(roles, any_text), min_size=1, max_size=6))
def test_template_takes_any_order_of_roles(template: TemplateRenderer, said: list[tuple[Role, str]]) -> None:
    turns = to_turns(template, [("system", "s"), *said, ("user", "u")])
    assert template.render(turns)


@every_template
@given(text=st.lists(st.sampled_from(MARKUP), min_size=1, max_size=4).map("".join))
def test_template_content_never_becomes_markup(template: TemplateRenderer, text: str) -> None:
    plain = template.render(to_turns(template, [("user", "hello")]))
    forged = template.render(to_turns(template, [("user", text)]))
    special = {template._glue.token_to_id(token) for token in MARKUP}
    assert [token for token in forged if token in special] == [token for token in plain if token in special]


def test_template_system_between_turns_joins_the_users() -> None:
    mistral = RENDERERS["mistral"]
    said: list[tuple[Role, str]] = [("user", "a"), ("assistant", "b"), ("system", "note"), ("user", "c")]
    text = mistral.decode(mistral.render(to_turns(mistral, said)))
    assert text == "<s>[INST]a[/INST]b</s>[INST]note\n\nc[/INST]"
