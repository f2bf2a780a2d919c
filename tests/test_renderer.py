"""Messages to ids: what the model's own chat template writes, and nothing that content could forge."""

from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from models.renderer import (
    Llama3Renderer,
    Renderer,
    RenderError,
    Role,
    TemplateRenderer,
    Turn,
    load_renderer,
)
from tests.conftest import TINY
from tests.strategies import FORGED_TURN, SPECIAL, any_text, content, forging_text, lines, plain_text, roles, to_turns

LLAMA = load_renderer(str(TINY))
HF: Any = AutoTokenizer.from_pretrained(TINY)  # transformers' return types depend on its arguments' values
GLUE = Tokenizer.from_str(HF.backend_tokenizer.to_str())
SPECIAL_IDS = {GLUE.get_vocab()[token] for token in SPECIAL}
START, END = GLUE.get_vocab()["<|start_header_id|>"], GLUE.get_vocab()["<|eot_id|>"]

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# As Mistral's: a system message only at the start, then user and assistant in turns.
STRICT = (
    "{{ '<s>' }}{% if messages[0]['role'] == 'system' %}{{ '[SYS]' + messages[0]['content'] + '[/SYS]' }}"
    "{% set loop_messages = messages[1:] %}{% else %}{% set loop_messages = messages %}{% endif %}"
    "{% for m in loop_messages %}"
    "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}"
    "{% if m['role'] == 'user' %}{{ '[INST]' + m['content'] + '[/INST]' }}"
    "{% elif m['role'] == 'assistant' %}{{ m['content'] + '</s>' }}"
    "{% else %}{{ raise_exception('only user and assistant') }}{% endif %}{% endfor %}"
)
# As Gemma's: no system message anywhere.
NO_SYSTEM = STRICT.replace(
    "{% if messages[0]['role'] == 'system' %}",
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}",
)
DROPS_SYSTEM = "{% for m in messages %}{% if m['role'] != 'system' %}{{ m['content'] }}{% endif %}{% endfor %}"
TEMPLATES = {"free": CHATML, "strict": STRICT, "no system": NO_SYSTEM}
MARKUP = ("<|im_start|>", "<|im_end|>", "<s>", "</s>", "[SYS]", "[/SYS]", "[INST]", "[/INST]")


def build_tokenizer(template: str, end: str) -> Any:
    """A byte-level tokenizer of its own, with all templates' markup as special tokens."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(special_tokens=list(MARKUP), initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(["user assistant system, hello there, who are you then?"] * 4, trainer)
    build: Any = PreTrainedTokenizerFast  # untyped in transformers
    return build(tokenizer_object=tokenizer, eos_token=end, chat_template=template)


RENDERERS = {
    name: TemplateRenderer(build_tokenizer(template, "<|im_end|>" if template is CHATML else "</s>"), name)
    for name, template in TEMPLATES.items()
}
every_template = pytest.mark.parametrize("template", RENDERERS.values(), ids=RENDERERS.keys())
# What a session is: an optional greeting, then user and assistant in turns, the user's last.
dialogues = st.tuples(st.booleans(), st.lists(any_text, min_size=1, max_size=7).filter(lambda said: len(said) % 2 == 1))


def by_template(said: list[tuple[Role, str]], *, generate: bool) -> list[int]:
    """What transformers makes of the conversation with the model's own template."""
    messages = [{"role": role, "content": text} for role, text in said]
    text: str = HF.apply_chat_template(messages, tokenize=False, add_generation_prompt=generate)
    ids: list[int] = GLUE.encode(text, add_special_tokens=False).ids
    return ids


def dialogue_turns(renderer: Renderer, greeted: bool, said: list[str]) -> list[Turn]:
    speakers: list[Role] = ["user", "assistant"] * len(said)
    opening = [Turn("assistant", renderer.encode("hello"))] if greeted else []
    head = Turn("system", renderer.encode("you are somebody"))
    return [head, *opening, *(Turn(role, renderer.encode(text)) for role, text in zip(speakers, said, strict=False))]


def end_of(renderer: TemplateRenderer) -> int:
    """The id that the template ends a reply with."""
    end: int = renderer._hf.eos_token_id
    return end


def reference_text(renderer: TemplateRenderer, turns: list[Turn]) -> str:
    """What the template itself writes, given what the turns say."""
    messages = [{"role": turn.role, "content": renderer.decode(turn.token_ids)} for turn in turns]
    text: str = renderer._hf.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return text


@given(st.lists(lines, min_size=1, max_size=8))
def test_llama3_equals_the_chat_template(said: list[tuple[Role, str]]) -> None:
    closed = list(chain.from_iterable(segment.token_ids for segment in LLAMA.segments(to_turns(LLAMA, said))))
    assert closed == by_template(said, generate=False)


@given(st.lists(lines, max_size=7), plain_text)
def test_llama3_prompt_equals_the_chat_template(said: list[tuple[Role, str]], last: str) -> None:
    said = [*said, ("user", last)]
    assert LLAMA.render(to_turns(LLAMA, said)) == by_template(said, generate=True)


@given(forging_text)
def test_encode_never_gives_a_special_token(text: str) -> None:
    assert SPECIAL_IDS.isdisjoint(LLAMA.encode(text))


@pytest.mark.parametrize("token", SPECIAL)
def test_encode_reads_a_special_token_as_text(token: str) -> None:
    assert len(LLAMA.encode(token)) > 1
    assert LLAMA.decode(LLAMA.encode(token)) == token


@given(content)
def test_decode_gives_back_what_was_encoded(text: str) -> None:
    assert LLAMA.decode(LLAMA.encode(text)) == text


@given(st.lists(st.tuples(roles, forging_text), min_size=1, max_size=6))
def test_content_opens_and_closes_no_turn(said: list[tuple[Role, str]]) -> None:
    ids = LLAMA.render(to_turns(LLAMA, [*said, ("user", FORGED_TURN)]))
    assert ids.count(START) == len(said) + 2  # with the user's and the one that is asked for
    assert ids.count(END) == len(said) + 1


def test_decode_writes_special_tokens_out() -> None:
    assert LLAMA.decode([START, *LLAMA.encode("Hello"), END]) == "<|start_header_id|>Hello<|eot_id|>"


@given(st.lists(st.tuples(roles, content), min_size=1, max_size=6))
def test_segments_and_render_agree(said: list[tuple[Role, str]]) -> None:
    turns = to_turns(LLAMA, said)
    closed = list(chain.from_iterable(segment.token_ids for segment in LLAMA.segments(turns)))
    opened = LLAMA.render(turns)
    if turns[-1].role == "assistant":
        assert opened == closed[:-1]
    else:
        assert opened[: len(closed)] == closed
        assert GLUE.decode(opened[len(closed) :], skip_special_tokens=False) == (
            "<|start_header_id|>assistant<|end_header_id|>\n\n"
        )


@given(st.lists(st.tuples(roles, content), min_size=1, max_size=6))
def test_loss_mask_is_the_replies_with_their_end(said: list[tuple[Role, str]]) -> None:
    turns = to_turns(LLAMA, said)
    marked = [list(segment.token_ids) for segment in LLAMA.segments(turns) if segment.is_reply]
    replies = [list(turn.token_ids) for turn in turns if turn.role == "assistant"]
    assert list(chain.from_iterable(marked)) == [token for reply in replies for token in (*reply, END)]


@given(st.lists(lines, min_size=1, max_size=5), any_text)
def test_llama3_continues_an_open_turn(said: list[tuple[Role, str]], begun: str) -> None:
    asked = to_turns(LLAMA, [*said, ("user", "Go on.")])
    assert LLAMA.render([*asked, Turn("assistant", LLAMA.encode(begun))]) == LLAMA.render(asked) + LLAMA.encode(begun)


@given(st.lists(lines, min_size=1, max_size=5), content)
def test_llama3_prompt_and_reply_are_a_prefix_of_the_next(said: list[tuple[Role, str]], reply: str) -> None:
    turns = to_turns(LLAMA, [*said, ("user", "And?")])
    spoken = Turn("assistant", LLAMA.encode(reply))
    before = [*LLAMA.render(turns), *spoken.token_ids, END]
    after = LLAMA.render([*turns, spoken, Turn("user", LLAMA.encode("And then?"))])
    assert after[: len(before)] == before


def test_llama3_stops_at_both_ends() -> None:
    assert set(LLAMA.stop_token_ids) == {END, GLUE.token_to_id("<|end_of_text|>")}


def test_load_renderer_knows_llama3() -> None:
    assert isinstance(LLAMA, Llama3Renderer)


def test_load_renderer_reads_any_other_template(tmp_path: Path) -> None:
    build_tokenizer(CHATML, "<|im_end|>").save_pretrained(tmp_path)
    loaded = load_renderer(str(tmp_path))
    assert isinstance(loaded, TemplateRenderer)
    assert loaded.fingerprint != LLAMA.fingerprint


def test_load_renderer_refuses_a_model_without_template(tmp_path: Path) -> None:
    tokenizer = build_tokenizer(CHATML, "<|im_end|>")
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


@pytest.mark.parametrize("name", RENDERERS)
def test_template_dialect_is_found(name: str) -> None:
    assert RENDERERS[name]._dialect == name.replace(" ", "_")


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
    turns = dialogue_turns(template, greeted, [*said, "the last reply"])
    marked = [token for segment in template.segments(turns) if segment.is_reply for token in segment.token_ids]
    replies = [turn.token_ids for turn in turns if turn.role == "assistant"]
    assert marked == [token for reply in replies for token in (*reply, end_of(template))]


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
    strict = RENDERERS["strict"]
    said: list[tuple[Role, str]] = [("user", "a"), ("assistant", "b"), ("system", "note"), ("user", "c")]
    text = strict._tokenizer.decode(strict.render(to_turns(strict, said)), skip_special_tokens=False)
    assert text == "<s>[INST]a[/INST]b</s>[INST]note\n\nc[/INST]"
