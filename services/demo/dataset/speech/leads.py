"""What comes before or after a sentence in any audience: lead-ins, mentions of the account, emoji."""

from __future__ import annotations

from services.demo.dataset.banks import lines, words

LEAD_POS = words("|||Honestly,|Ngl,|Not gonna lie,|I have to say,|Okay but|Imo|Have to admit,")
LEAD_NEG = words("||Honestly,|Sorry, but|Not gonna lie,|I have to say,|It pains me to say it, but|Unfortunately|Hmm,")
LEAD_MID = words("||I think|In my opinion|So far|As far as I can tell,|For us|Just saying,")
LEAD_REVIEW = words("||||Honestly,|I have to say,|I must admit|Worth mentioning:")
LEAD_ASK = words(
    "||||Quick question:|Maybe a silly question:|Sorry if this was asked before:|Hmm.|Asking for a friend:|"
    "Nice!|Hey,|Hi there!|Before I decide:|Interesting.|Serious question:|One thing I was wondering:"
)
LEAD_BUT = words("But|Then again,|On the other hand|Sadly")
EMOJI: dict[str, tuple[str, ...]] = {
    "positive": words("😍|🔥|❤️|🙌|👏|😂|🥰|💯|✨|🙏|😊|👌|😭❤️|🔥🔥|👏👏👏"),
    "neutral": words("🤔|😅|👀|🙂|🤷|😄"),
    "negative": words("😕|😒|🙄|👎|😬|😞|🤷|😤"),
}

MENTIONS: dict[str, tuple[str, ...]] = {
    "positive": lines("""
        Shout-out to {handle}!
        Thanks {handle} for this one.
        Found through {handle}.
        {handle} strikes again.
        Proof that {handle} delivers.
        Everyone go and see {handle}.
        Reposting for {handle}.
        {who_cap} told me about {handle} and was right.
    """),
    "neutral": lines("""
        Hey {handle}!
        {handle} maybe you know.
        Calling {handle}.
        Hi {handle}, one for you.
        Tagging {handle} here.
        Saw this over at {handle}.
    """),
    "negative": lines("""
        {handle} please read this.
        Not cool, {handle}.
        Come on, {handle}.
        {handle} any comment on this?
        Tagging {handle} as nobody answers my messages.
    """),
}

LIKED = words("is good|is nice|is decent|is solid|is fine|was good|was okay|is pleasant enough")
