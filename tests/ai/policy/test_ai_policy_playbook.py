"""What is decided on requests, rule by rule."""

from __future__ import annotations

import pytest

from policy_scenes import play

PLAYS = {
    "without rules nothing changes": """
>> chat {"model":"a", "messages":[{"role":"user","content":"hi"}],"x":1e400}
<< same
<< start
<< headers
>> ends {"usage": {"input": 3, "output": 4}}
<< rules
>> chat {bad
<< same
>> POST /api/generate
<< same
""",
    "a stream is asked for its usage": """
>> chat {"stream":true}
<< {"stream":true,"stream_options":{"include_usage":true}}
<< start strip_usage=True
<< headers accept-encoding=identity
>> chat {"stream":true,"stream_options":{"include_usage":true}}
<< same
<< start
>> chat {"stream":true,"stream_options":{"include_usage":false,"include_obfuscation":false}}
<< {"stream":true,"stream_options":{"include_usage":true,"include_obfuscation":false}}
>> chat {"stream":true,"stream_options":null}
<< {"stream":true,"stream_options":{"include_usage":true}}
>> chat {"stream":true,"stream_options":{}}
<< {"stream":true,"stream_options":{"include_usage":true}}
>> chat {"stream":false}
<< same
>> ollama {"model":"a"}
<< same
""",
    "unless the policy asks for none": """
version: 1
askUsage: false
>> chat {"stream":true}
<< same
""",
    "a model is renamed, and the client finds its own name": """
version: 1
rules:
- {kind: model, name: cheap, match: "gpt-4*", to: "gemma2:2b"}
>> chat {"model": "gpt-4o" ,"n":2}
<< {"model": "gemma2:2b" ,"n":2}
<< start model=gpt-4o
<< headers accept-encoding=identity
>> ends {}
<< rules cheap=1
>> chat {"model":"gpt-5"}
<< same
<< start
>> chat {"Model":"gpt-4o","model":"x","model":"gpt-4"}
<< {"Model":"gemma2:2b","model":"x","model":"gemma2:2b"}
>> chat {"model":"g\\u0070t-4"}
<< {"model":"gemma2:2b"}
""",
    "or the new name": """
version: 1
rules:
- {kind: model, name: cheap, match: "gpt-4*", to: "gemma2:2b", echo: actual}
>> chat {"model":"gpt-4o"}
<< {"model":"gemma2:2b"}
<< start
<< headers
""",
    "rules for models see what the ones before made": """
version: 1
rules:
- {kind: model, name: one, match: a, to: b}
- {kind: model, name: two, regex: "(b|c)-?([0-9]*)", to: "$1x${2}"}
- {kind: model, name: three, match: bx, deny: true}
>> chat {"model":"c-17"}
<< {"model":"cx17"}
>> chat {"model":"a"}
<< 403 the model is not allowed (rule three)
<< rules one=1 two=1 three=1
>> chat {"model":"xc-17"}
<< same
""",
    "the model in a target": """
version: 1
rules:
- {kind: model, name: cheap, match: "gemini-2*", to: "models/other one"}
>> POST /v1beta/models/gemini-2.0-flash:streamGenerateContent?alt=sse&key=k {"contents":[]}
<< same
<< target /v1beta/models/models%2Fother%20one:streamGenerateContent?alt=sse&key=k
<< start model=gemini-2.0-flash
>> POST /openai/deployments/gemini-2/chat/completions?api-version=1 {"model":"gemini-2"}
<< {"model":"models/other one"}
<< target /openai/deployments/models%2Fother%20one/chat/completions?api-version=1
""",
    "administration is not renamed but can be denied": """
version: 1
rules:
- {kind: model, name: to, match: "a*", to: b}
- {kind: model, name: no, match: "z*", deny: true}
>> DELETE /api/delete {"model":"a"}
<< same
>> POST /api/pull {"model":"z1"}
<< 403 no
>> POST /api/show {"model":"a"}
<< {"model":"b"}
""",
    "a text is replaced where it stands": """
version: 1
rules:
- {kind: replace, name: r, lanes: [user, developer], literal: cat, with: "dog \\"x\\""}
>> chat {"messages":[{"role":"user","content":"a\\u0020cat"},{"role":"system","content":"cat"},{"role":"developer","content":[{"type":"text","text":"\\u0063at"}]}]}
<< {"messages":[{"role":"user","content":"a\\u0020dog \\"x\\""},{"role":"system","content":"cat"},{"role":"developer","content":[{"type":"text","text":"dog \\"x\\""}]}]}
>> ends {}
<< rules r=2
>> chat {"messages":[{"role":"user","content":"dog","content":"cat"}]}
<< {"messages":[{"role":"user","content":"dog","content":"dog \\"x\\""}]}
""",
    "groups are repeated": r"""
version: 1
rules:
- {kind: replace, name: r, regex: "(?<who>\\w+)@corp", with: "${who} at $1 $$"}
>> chat {"messages":[{"role":"user","content":"to bob@corp"}]}
<< {"messages":[{"role":"user","content":"to bob at bob $"}]}
""",
    "words are whole unless told otherwise": """
version: 1
rules:
- {kind: words, name: w, words: [ass, über], lanes: [prompt]}
- {kind: words, name: parts, words: [XX], lanes: [prompt], wholeWords: false, ignoreCase: false, replacement: "-"}
>> chat {"messages":[{"role":"user","content":"class Ass ÜBER aXXb xx"}]}
<< {"messages":[{"role":"user","content":"class *** *** a-b xx"}]}
""",
    "the longest match counts, and no rule sees what another put there": """
version: 1
rules:
- {kind: replace, name: a, literal: one, with: two}
- {kind: replace, name: b, literal: two, with: three}
- {kind: replace, name: c, literal: one two, with: four}
>> chat {"messages":[{"role":"user","content":"one one two two"}]}
<< {"messages":[{"role":"user","content":"two four three"}]}
>> ends {}
<< rules a=1 b=1 c=1
""",
    "a text that is denied refuses the call": """
version: 1
rules:
- {kind: words, name: no, words: [secret], lanes: [system], action: deny}
>> chat {"messages":[{"role":"user","content":"secret"}]}
<< same
>> chat {"messages":[{"role":"system","content":"the \\u0053ecret"}]}
<< 403 "code":"kube_gateway_blocked"
<< rules no=1
""",
    "detectors": """
version: 1
rules:
- {kind: detect, name: pii, detectors: [personal, cloud_key], lanes: [prompt]}
>> chat {"messages":[{"role":"user","content":"bob@example.com 4111 1111 1111 1111 4111 1111 1111 1112"}]}
<< {"messages":[{"role":"user","content":"[email] [card] 4111 1111 1111 1112"}]}
>> ends {}
<< rules pii=2
""",
    "arguments of earlier calls are JSON in a string": r"""
version: 1
rules:
- {kind: words, name: w, words: [banned], lanes: [tool_arguments], replacement: "a\"b"}
>> chat {"messages":[{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":"{\"q\": \"\\u0062anned\"}"}}]}]}
<< {"messages":[{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":"{\"q\": \"a\\\"b\"}"}}]}]}
>> anthropic {"messages":[{"role":"assistant","content":[{"type":"tool_use","input":{"q":"banned"}}]}]}
<< {"messages":[{"role":"assistant","content":[{"type":"tool_use","input":{"q":"a\"b"}}]}]}
""",
    "what is signed stays, and can be denied": """
version: 1
rules:
- {kind: words, name: mask, words: [foo], lanes: [reasoning]}
- {kind: words, name: deny, words: [bar], lanes: [reasoning], action: deny}
>> anthropic {"messages":[{"role":"assistant","content":[{"type":"thinking","thinking":"foo","signature":"s"}]}]}
<< same
>> ends {}
<< rules mask=1
>> anthropic {"messages":[{"role":"assistant","content":[{"type":"thinking","thinking":"bar","signature":"s"}]}]}
<< 403 deny
""",
    "prompts in numbers cannot be checked": """
version: 1
rules:
- {kind: words, name: w, words: [x], lanes: [user]}
>> embed {"model":"e","input":[1,2,3]}
<< 400 numbers of tokens
>> embed {"model":"e","input":["x","y"]}
<< {"model":"e","input":["***","y"]}
""",
    "unless the policy lets them pass": """
version: 1
onNumericPrompt: pass
rules:
- {kind: words, name: w, words: [x], lanes: [user]}
>> embed {"model":"e","input":[[1,2,3]]}
<< same
""",
    "a limit is lowered, and added": """
version: 1
rules:
- {kind: limit, name: l, maxTokens: 100}
>> chat {"max_tokens":50}
<< same
>> chat {"max_tokens": 500,"max_completion_tokens":20}
<< {"max_tokens": 100,"max_completion_tokens":20}
>> chat {"max_completion_tokens":1e3}
<< {"max_completion_tokens":100}
>> chat {}
<< {"max_tokens":100}
>> chat {"max_tokens":null}
<< {"max_tokens":100}
>> responses {"input":"x"}
<< {"input":"x","max_output_tokens":100}
>> ollama {"stream":false}
<< {"stream":false,"options":{"num_predict":100}}
>> ollama {"stream":false,"options":{"seed":1}}
<< {"stream":false,"options":{"seed":1,"num_predict":100}}
>> ollama {"stream":false,"options":{"num_predict":-1}}
<< {"stream":false,"options":{"num_predict":100}}
>> ollama {"stream":false,"options":null}
<< {"stream":false,"options":{"num_predict":100}}
>> gemini g {"generation_config":{"topK":1}}
<< {"generation_config":{"topK":1,"maxOutputTokens":100}}
>> gemini g {"generationConfig":{"maxOutputTokens":"500"}}
<< {"generationConfig":{"maxOutputTokens":100}}
>> gemini g {}
<< {"generationConfig":{"maxOutputTokens":100}}
>> anthropic {"max_tokens":4096,"thinking":{"type":"enabled","budget_tokens":2048}}
<< {"max_tokens":100}
""",
    "what must be below the limit stays below it": """
version: 1
rules:
- {kind: limit, name: l, maxTokens: 2000}
>> anthropic {"max_tokens":4096,"thinking":{"type":"enabled","budget_tokens":2048}}
<< {"max_tokens":2000,"thinking":{"type":"enabled","budget_tokens":1999}}
>> anthropic {"max_tokens":4096,"thinking":{"type":"enabled","budget_tokens":1024}}
<< {"max_tokens":2000,"thinking":{"type":"enabled","budget_tokens":1024}}
""",
    "a limit is not added where it is not to be": """
version: 1
rules:
- {kind: limit, name: l, maxTokens: 100, inject: false}
>> chat {}
<< same
>> chat {"max_tokens":101}
<< {"max_tokens":100}
""",
    "a stream is cut at the limit": """
version: 1
askUsage: false
rules:
- {kind: limit, name: l, maxTokens: 100, cut: true}
>> chat {"stream":true,"max_tokens":50,"n":2}
<< same
<< start most_output=100
>> chat {"stream":true}
<< {"stream":true,"max_tokens":100}
<< start most_output=100
>> chat {}
<< {"max_tokens":100}
<< start
""",
    "the smallest limit counts, for the models it is about": """
version: 1
rules:
- {kind: limit, name: all, maxTokens: 100}
- {kind: limit, name: small, maxTokens: 10, when: {models: ["small*"]}}
>> chat {"model":"small-1"}
<< {"model":"small-1","max_tokens":10}
>> ends {}
<< rules all=1 small=1
>> chat {"model":"big","max_tokens":100}
<< same
""",
    "denied tools are not offered": """
version: 1
rules:
- {kind: tools, name: yes, tools: [shell_help], action: allow}
- {kind: tools, name: no, tools: ["shell*"]}
>> chat {"tools":[{"type":"function","function":{"name":"shell"}}, {"type":"function","function":{"name":"a"}},{"type":"function","function":{"name":"shell_help"}}],"tool_choice":"auto"}
<< {"tools":[{"type":"function","function":{"name":"a"}},{"type":"function","function":{"name":"shell_help"}}],"tool_choice":"auto"}
>> ends {}
<< rules no=1
>> chat {"tools":[{"type":"function","function":{"name":"shell"}}],"tool_choice":"auto","n":1}
<< {"n":1}
>> chat {"tools":[{"function":{"name":"shell"}},{"function":{"name":"b"}}],"tool_choice":{"type":"function","function":{"name":"shell"}}}
<< {"tools":[{"function":{"name":"b"}}]}
>> anthropic {"tools":[{"name":"shell"},{"name":"b"}]}
<< {"tools":[{"name":"b"}]}
>> gemini g {"tools":[{"functionDeclarations":[{"name":"shell"},{"name":"b"}]}]}
<< {"tools":[{"functionDeclarations":[{"name":"b"}]}]}
""",
    "or refuse the call, or only the model": """
version: 1
rules:
- {kind: tools, name: refuse, tools: [a], request: refuse}
- {kind: tools, name: pass, tools: [b], request: pass}
>> chat {"tools":[{"function":{"name":"b"}}]}
<< same
>> chat {"tools":[{"function":{"name":"b"}},{"function":{"name":"a"}}]}
<< 403 a tool is not allowed (rule refuse)
""",
    "sizes": """
version: 1
rules:
- {kind: size, name: s, maxBytes: 100, maxMessages: 2}
>> chat {"messages":[{"role":"user","content":"a"},{"role":"user","content":"b"}]}
<< same
>> chat {"messages":[{},{},{}]}
<< 413 3 messages, and rule s allows 2
>> chat {"messages":[{"role":"user","content":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}]}
<< 413 bytes, and rule s allows 100
""",
    "kinds of calls": """
version: 1
rules:
- {kind: endpoints, name: tags, endpoints: [ollama/tags], action: allow}
- {kind: endpoints, name: none, endpoints: [models, manage, "anthropic*"]}
>> GET /api/tags
<< same
>> GET /v1/models
<< 403 this kind of call is not allowed (rule none)
>> POST /api/pull {"model":"x"}
<< 403 none
>> anthropic {}
<< 403 none
>> chat {}
<< same
""",
    "a body that is no JSON is refused once a rule could act on it": """
version: 1
rules:
- {kind: limit, name: l, maxTokens: 5}
>> chat {"a":1,}
<< 400 not JSON
>> chat
<< same
""",
    "unless it is to pass": """
version: 1
onInvalid: pass
rules:
- {kind: limit, name: l, maxTokens: 5}
>> chat {"a":1,}
<< same
""",
    "in shadow mode nothing changes and all is counted": """
version: 1
askUsage: false
rules:
- {kind: model, name: m, match: "*", deny: true, mode: shadow}
- {kind: model, name: to, match: "*", to: other, mode: shadow}
- {kind: words, name: w, words: [foo], lanes: [prompt, answer], action: deny, mode: shadow}
- {kind: replace, name: r, literal: bar, with: baz, mode: shadow}
- {kind: limit, name: l, maxTokens: 5, cut: true, mode: shadow}
- {kind: tools, name: t, tools: [a], request: refuse, mode: shadow}
- {kind: size, name: s, maxBytes: 1, mode: shadow}
- {kind: endpoints, name: e, endpoints: [chat], mode: shadow}
- {kind: budget, name: b, tokens: 1, window: 1d, mode: shadow}
- {kind: rate, name: q, requests: 1, mode: shadow}
>> chat {"model":"a","stream":true,"messages":[{"role":"user","content":"bar foo"}],"tools":[{"function":{"name":"a"}}]}
<< same
<< start
<< headers
>> ends {"shadow_matches":{"w":2}}
<< rules
<< shadow e=1 m=1 to=1 s=1 w=3 r=1 t=1 l=1 b=1
>> chat {"model":"a","messages":[]}
<< same
>> ends {}
<< shadow e=1 m=1 to=1 s=1 l=1 b=1 q=1
>> chat {bad
<< same
""",
    "rules for other calls do not act": """
version: 1
rules:
- {kind: words, name: w, words: [foo], lanes: [prompt], when: {endpoints: [ollama], models: ["a*"]}}
>> chat {"model":"a","messages":[{"role":"user","content":"foo"}]}
<< same
>> ollama {"model":"b","messages":[{"role":"user","content":"foo"}]}
<< same
>> ollama {"model":"a","messages":[{"role":"user","content":"foo"}]}
<< {"model":"a","messages":[{"role":"user","content":"***"}]}
""",
    "answers instead of errors": """
version: 1
onBlock: {form: answer, message: "no, says {rule}"}
rules:
- {kind: words, name: w, words: [foo], lanes: [prompt], action: deny}
- {kind: model, name: m, match: x, deny: true, onBlock: {form: error}}
>> chat {"model":"a","messages":[{"role":"user","content":"foo"}]}
<< 200 "content":"no, says w"
>> chat {"model":"a","stream":true,"messages":[{"role":"user","content":"foo"}]}
<< 200 data: [DONE]
>> chat {"model":"x"}
<< 403 "message":"no, says m"
>> embed {"input":"foo"}
<< 403 no, says w
>> chat {bad
<< 400 no, says
""",
    "a budget is used up, and begins anew": """
version: 1
rules:
- {kind: budget, name: day, tokens: 100, window: 1d, reserve: 60}
>> chat {"messages":[{"role":"user","content":"12345678"}]}
<< {"messages":[{"role":"user","content":"12345678"}],"max_tokens":60}
>> chat {"messages":[],"max_tokens":10}
<< same
>> chat {"messages":[],"max_tokens":100}
<< {"messages":[],"max_tokens":27}
>> chat {"messages":[]}
<< 429 insufficient_quota
<< rules day=1
>> time 86400
>> chat {"messages":[],"max_tokens":10}
<< same
""",
    "what is settled is what was used": """
version: 1
rules:
- {kind: budget, name: day, tokens: 100, window: 1d, reserve: 60}
>> chat {"messages":[]}
<< {"messages":[],"max_tokens":60}
>> ends {"usage":{"input":2,"output":90}}
>> chat {"messages":[]}
<< {"messages":[],"max_tokens":8}
""",
    "a stream is cut where the budget ends": """
version: 1
askUsage: false
rules:
- {kind: budget, name: day, tokens: 100, window: 1d}
>> chat {"messages":[],"stream":true,"n":2,"max_tokens":80}
<< {"messages":[],"stream":true,"n":2,"max_tokens":50}
<< start most_output=100
""",
    "rates tell when to come back": """
version: 1
rules:
- {kind: rate, name: r, requests: 2, per: model}
>> chat {"model":"a"}
<< same
>> chat {"model":"a"}
<< same
>> chat {"model":"a"}
<< 429 rate_limit
>> chat {"model":"b"}
<< same
>> GET /v1/models
<< same
>> time 61
>> chat {"model":"a"}
<< same
""",
}


@pytest.mark.parametrize("name", PLAYS)
def test_play(name):
    play(PLAYS[name])
