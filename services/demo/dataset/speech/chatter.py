"""Sentences about any subject, by profile type, that stand beside what a niche says of its own.

[a|b] offers wordings to choose from.
"""

from __future__ import annotations

from dataclasses import dataclass

from services.demo.dataset.banks import lines


@dataclass(frozen=True, slots=True, kw_only=True)
class Chatter:
    """Banks of the same meaning as those of a `World`."""

    praise: tuple[str, ...]
    gripe: tuple[str, ...]
    ask: tuple[str, ...]
    note: tuple[str, ...]


_FANS = Chatter(
    praise=lines("""
        This {ref} [came at just the right time|was exactly what I was searching for|is going straight to my favourites].
        I've [read|seen|watched] a lot about the {name} and this is [the clearest so far|by far the best].
        The way you explained the {name} was so [simple|clear|relaxed].
        Learned [more|something new] about the {name} [in five minutes|again], thank you.
        I was [on the fence|undecided] about the {name} for {span}, not any more.
        Sent the {name} to {who}, [now we're both fans|and got three hearts back].
        My [commute|evening|lunch break] just got better, a new {ref} from you.
        You can tell [how much work|how much love] went into the {name}.
        Nobody does a {ref} like you.
        I've been following for {span} and this {ref} is [my favourite|one of your best|top three for sure].
        Even {who} liked the {name}, and that means something.
        So [refreshing|nice] to see a {ref} without the usual shouting.
        [Tried|Copied] your tips on the {name} and [it worked|it actually worked|no complaints].
        The {name} [deserves|should get] a lot more attention.
        I had given up on the {name} until [I saw this|today].
        Can't believe a {ref} this good is free.
        Every [time|week] I think you can't top it and then the {name} comes along.
        This made me [laugh out loud|smile|weirdly emotional].
        The detail about the {aspect} [is gold|was new to me and so useful|helped a lot].
        [Paused|Stopped] twice to write down the bit about the {aspect}.
        Loved the bit about the {aspect}, [so honest|so well done|so true].
        What you say about the {aspect} [is spot on|matches my experience|needed to be said].
        Thanks for [not skipping|including|showing] the {aspect}.
        [Favourite|Best] moment: the {aspect}, no question.
        Your take on the {aspect} [convinced me|changed my mind].
        More people should talk about the {aspect} like this.
        [Rewound|Went back to] the {aspect} three times, so good.
    """),
    gripe=lines("""
        You [completely skipped|hardly mention] the {aspect}, and that's what I came for.
        I [don't agree|really can't agree] with what you say about the {aspect}.
        The bit about the {aspect} was [confusing|way too short|just wrong].
        This {ref} [could have been half as long|felt rushed|was hard to follow].
        The {name} again? We've [had that|seen that] three times now.
        [Tried|Followed] your advice on the {name}, didn't work at all.
        The title [promises|says] one thing about the {name} and then you talk about something else.
        Sound and picture were out of sync for the whole {ref}.
        I [lost interest|gave up] halfway through the {name}.
        Your older posts had more care in them than this {ref}.
        The {name} is [overrated|overhyped] and you know it.
        {who_cap} tried the {name} because of you and [regrets it|was not amused].
        Too many [ads|sponsor breaks] for one {ref}.
        The link for the {name} [doesn't work|leads nowhere|is dead].
        It's [a pity|sad] that questions about the {name} never get an answer here.
        You [talk over|rush past] the {aspect} as if it didn't matter.
    """),
    ask=lines("""
        Could you make a [follow-up|longer version|part two] about the {name}?
        What would you do differently about the {aspect}?
        Is the {name} still [current|your pick] a few months from now?
        Can you share [the link|more details] for the {name}?
        How did you get into the {name}?
        What's a good [alternative|second choice] to the {name}?
        Is the {aspect} really that important?
        Did anybody else here try the {name}?
        Where do I start if the {name} is all new to me?
        What did the {name} [cost|set you back] in the end?
        How [long|many tries] did the {name} take you?
        Am I the only one who [paused|rewound] at the {aspect}?
    """),
    note=lines("""
        Only here because {who} sent me the {name}.
        I [usually|always] read the comments before the actual {ref}.
        Leaving a comment so that I find the {name} again.
        Not sure how I got here but hello from {land}.
        Had to look twice at the {aspect}.
        [Typing this on the bus|Watching without sound in a waiting room], will come back to the {name} later.
        Third comment about the {aspect} I've seen today.
        Will try the {name} [on {day}|this weekend|when I have time] and report back.
        Comparing this with the {ref} from last month.
        The algorithm really wants me to see the {name}.
    """),
)

_BUYERS = Chatter(
    praise=lines("""
        Had the {name} for {span} now and [still love it|not a single problem|I use it all the time].
        The {name} does exactly what [it says|I hoped].
        [Gave|Sent] the {name} to {who} as a gift, [huge hit|big smile|very well received].
        [Compared|Tried] a few and this {ref} [wins|is the best by far].
        I was sceptical about the {name}, [now I'm convinced|I take it all back].
        The {name} is [even better|nicer] in person than in the photos.
        You can [see|feel] that somebody cared when making this {ref}.
        Finally a {ref} that [lives up to the promise|keeps its promise].
        {who_cap} [noticed|asked about] the {name} straight away.
        The {name} turned me from sceptic into fan.
        Good value, good people, great {ref}.
        [Ordered|Got] the {name} on {day} and I'm [already hooked|so happy with it].
        My second {name} after I [gave|passed] the first one to {who}.
        The {aspect} is [great|excellent], and the rest of the {name} is too.
        [Impressed|Blown away] by the {aspect}.
        For the {aspect} alone I'd [choose|pick] the {name} again.
        Whoever is responsible for the {aspect}: [well done|thank you|give them a raise].
        The {aspect} is so much better than on the {ref} I had before.
        Love the {aspect}, love the whole idea.
        What I [like|love] most is the {aspect}.
        Three things I like: the price, the idea, and most of all the {aspect}.
    """),
    gripe=lines("""
        The {name} [looks|sounds] good on paper, that's it.
        The {aspect} of my {name} is [not okay|a real problem|nothing like described].
        After {span} I [regret buying|gave up on] the {name}.
        I [asked|wrote to] you about the {name} and got no answer.
        {who_cap} has the same {name} and the same problem.
        The {name} was fine [for a week|at first], then the trouble started.
        You used to care more about the {aspect}.
        The {aspect} [should|must] be better at this price.
        I paid full price for the {name} and it was [half off|on sale] days later.
        Whatever you did to the {aspect}, please undo it.
        Nobody tested the {aspect}, did they?
        Not happy with the {name}, mainly because of the {aspect}.
        The description of the {name} is [misleading|simply not true].
        My old {ref} was better in every way.
    """),
    ask=lines("""
        What makes the {name} different from [the others|the previous one]?
        Can somebody who has the {name} [tell me about|comment on] the {aspect}?
        Is the {name} a good gift for {who}?
        Will there be [an offer|a discount] on the {name} soon?
        How do I [reach|contact] you about my {name}?
        Has the {aspect} [changed|improved] lately?
        Which {ref} would you recommend to a beginner?
        Can I [return|cancel] the {name} if it's not for me?
        Is it true that the {name} is being [replaced|updated] soon?
    """),
    note=lines("""
        [Thinking about|Considering] the {name} for {who}.
        Saw the {name} [in my feed|at a friend's] and had to look it up.
        I'll decide about the {name} [next month|on {day}|after the holidays].
        Reading all the comments about the {aspect} first.
        Will report back about the {aspect} in {span}.
        Came here to compare the {aspect}.
        {who_cap} has one, I'm the one without a {ref}.
        Just here for the [giveaway|pictures].
    """),
)

_VISITORS = Chatter(
    praise=lines("""
        [Tried|Went for] the {name} on {day} and [loved it|can't fault it|will be back].
        {staff} [made|really made] the difference, [so kind|such a pro|so patient].
        {who_cap} [sent|recommended] me here and [was right|I'm glad I listened].
        The {name} was [worth every cent|better than I'd hoped|just perfect].
        You feel [welcome|at home] here from the first minute.
        Been to [many|a few] places and this is the {place} I [trust|stick with].
        The whole team is [friendly|attentive], {staff} above all.
        I [keep|love] coming back, the {aspect} is just that good.
        After {span} as a customer I can say the {aspect} has always been [great|top].
        The {aspect} is [great|lovely|a real plus], but it's the people who make this {place}.
        [Huge|Big] thanks to {staff} for the {name}.
        So [happy|pleased] with the {name}, thank you all.
        They [squeezed me in|fitted me in] on {day} although they were full.
        Small {place}, big heart.
        I came in stressed and left [relaxed|smiling].
        What I [like|love] most here is the {aspect}.
        Nothing is too much trouble for {staff}.
        [Glad|So glad] I took the advice of {who} and [came here|booked the {name}].
        New in town and [so happy|relieved] to have found this {place}.
        You won't find a better {name} around here.
        [Great|Excellent] {aspect}, [great|lovely] people.
    """),
    gripe=lines("""
        [Tried|Went for] the {name} on {day}, [never again|what a letdown|not what I was promised].
        I've been a customer for {span} and the {aspect} has gone downhill.
        {staff} was [unfriendly|short with me] when I asked about the {name}.
        We [were forgotten|sat there forgotten] for half an hour.
        {who_cap} recommended this {place}, I can't see why.
        The {aspect} was [poor|really poor|not okay], and nobody seemed to mind.
        Complained about the {aspect} and got [a shrug|an eye roll].
        You raise prices and the {aspect} gets worse.
        They were [closed|locked up] on {day} although the page says open.
        The {name} did not match what was [promised|described] at all.
        Messy, hectic, and nobody [in charge|to talk to].
        Left [before the end|early], that says it all.
        The {name} is [overpriced|not worth it], and the {aspect} doesn't help.
    """),
    ask=lines("""
        What are your opening hours on {day}?
        Is {staff} in on {day}?
        Can I just drop in [on {day}|in the afternoon]?
        Is the {name} also something for {who}?
        Do you sell [vouchers|gift cards]?
        How far ahead should I [book|call]?
        Can I pay by card?
        Is the {place} [accessible with a pram|step-free]?
        Is there a waiting list [at the moment|right now]?
        How busy are you on {day} afternoons?
    """),
    note=lines("""
        Passing by on {day}, might drop in about the {name}.
        {who_cap} was there last week, I'll ask about the {aspect}.
        [Saving|Bookmarking] this for when I'm back in town.
        Is that {staff} in the picture?
        I know the {place} from before the renovation.
        We'll be [three|four|two] for the {name}, see you.
        Heard about the {name} from {who}.
        Haven't been to the {place} since {day}, was something new?
    """),
)

CHATTER: dict[str, Chatter] = {"creator": _FANS, "brand": _BUYERS, "local_business": _VISITORS}
