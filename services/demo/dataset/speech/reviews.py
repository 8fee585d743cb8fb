"""What reviews say beyond the subject itself: the page of a creator, shipping or support of a brand, the visit."""

from __future__ import annotations

from dataclasses import dataclass

from services.demo.dataset.banks import lines


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """Sentences about what surrounds the subject, by how content the reviewer is; `caveat` costs the fifth star."""

    good: tuple[str, ...]
    bad: tuple[str, ...]
    fair: tuple[str, ...]
    caveat: tuple[str, ...]


_PAGE = Service(
    good=lines("""
        Have been following this page for {span}.
        New posts every week and never boring.
        Answers questions in the comments, which I really appreciate.
        Honest, clear and never pushy.
        Feels like learning from a friend.
        The community here is kind as well.
        One of the few pages {who} and I both follow.
        You notice how much work goes into every post.
    """),
    bad=lines("""
        Every second post is sponsored these days.
        Comments with criticism seem to disappear.
        Asked a question twice and never got an answer.
        Posts have become repetitive over the last {span}.
        A lot of promises, little content.
        The page used to be so much more personal.
    """),
    fair=lines("""
        Some posts are great, others I skip.
        Good page for beginners, less so for everybody else.
        I follow it on and off.
        Content is decent, the ads are a bit much.
        I've seen similar elsewhere.
    """),
    caveat=lines("""
        Only wish there were fewer ads.
        Would love longer posts now and then.
        Could be a little more regular.
        Captions would make it perfect.
    """),
)

_PARCEL = Service(
    good=lines("""
        Arrived in two days, well packed.
        Shipping to {land} was quick and tracked.
        Delivery came earlier than promised.
        Packaging was plastic-free, nice touch.
        Support answered my question within an hour.
        Exchange was free and painless.
        Ordered on {day}, in my hands two days later.
        There was a handwritten note in the box.
        Return label was in the parcel, didn't need it.
        Customer service is friendly and quick.
    """),
    bad=lines("""
        Delivery took {wait} and tracking never updated.
        Box arrived crushed.
        Support only sends copy-paste answers.
        They want me to pay for the return myself.
        Parcel was left in the rain.
        Wrong item in the parcel, then silence.
        Refund was promised {wait} ago, nothing yet.
        Shipping cost was added at the very end.
        No answer from customer service since {day}.
    """),
    fair=lines("""
        Delivery took about a week, as stated.
        Shipping was fine.
        Packaging was a bit much for such a small thing.
        Support was polite but couldn't really help.
        Return was possible, I decided to keep it.
        Okay for the price, nothing special.
    """),
    caveat=lines("""
        One star off because my favourite colour was sold out.
        Shipping could be cheaper.
        Would be perfect with a longer guarantee.
        Four stars because there's always room for a fifth.
        The instructions could be clearer.
        The website could be easier to use.
    """),
)

_DIGITAL = Service(
    good=lines("""
        Support answered my question within an hour.
        Sign-up took three minutes.
        Cancelling the trial would have been easy, I just didn't want to.
        Order confirmation and access came instantly.
        Had a problem with the payment, sorted the same day.
        Regular updates and they actually listen to users.
        A real human answered my chat on {day}.
        No hidden costs anywhere.
        Onboarding was friendly and short.
    """),
    bad=lines("""
        Support only sends copy-paste answers.
        Cancelling is made as hard as possible.
        Refund was promised {wait} ago, nothing yet.
        Chat support is a bot that runs in circles.
        No answer from customer service since {day}.
        I was charged twice and nobody reacts.
        Each update makes it slower.
        Locked out of my account for {wait}.
    """),
    fair=lines("""
        Support was polite but couldn't really help.
        Sign-up was fine.
        Useful on some days, forgotten on others.
        The free part is enough for most people.
        Okay for the price, nothing special.
        Does the job, looks a bit dated.
    """),
    caveat=lines("""
        One star off for the slow loading.
        Four stars because there's always room for a fifth.
        Could send fewer reminder e-mails.
        A proper tablet version would make it perfect.
        Support only works on weekdays.
    """),
)

_VISIT = Service(
    good=lines("""
        Booking online was easy and they were right on time.
        Staff were so welcoming.
        {staff} took good care of us.
        Clean, calm and well organised.
        Got a slot on the same day.
        Easy to find, two minutes from the bus stop.
        They tell you the price before they start.
        They even stayed open a bit longer for me.
        You're greeted by name here.
        Our visit on {day} was great from start to finish.
        Friendly service without being pushy.
    """),
    bad=lines("""
        Waited 40 minutes despite a booking.
        Staff were more interested in their phones than in us.
        Rude at the counter, sorry to say.
        Nobody picks up the phone.
        Was charged more than agreed.
        The whole {place} looked like it needed a good clean.
        We visited on {day} and felt like a burden.
        Asked for the manager and was laughed off.
        They lost our booking and made it our problem.
    """),
    fair=lines("""
        Staff were okay, a bit busy.
        Parking is tricky, plan some time.
        Service was friendly but slow.
        Visited on {day}, it was rather full.
        Prices have gone up since last year.
        Fine if you live nearby.
        A normal visit, nothing stood out.
    """),
    caveat=lines("""
        Parking is the only downside.
        The waiting area is a bit cramped.
        Four stars because there's always room for a fifth.
        A second person on the phones would help.
        It was a bit loud when we visited.
        Would be perfect with longer opening hours.
        Card payment was down that day.
    """),
)

HARSH = lines("""
    Avoid.
    One star is generous.
    Never again.
    Complete waste.
    Zero stars if I could.
    Really not good.
    Stay away.
    Done with this.
""")

LUKEWARM = lines("""
    Mixed feelings.
    It's okay.
    Three stars, could be more.
    Not bad, not great.
    Good idea, average result.
    Somewhere in the middle for me.
    Decent.
    I'm torn.
    Fine overall.
    There's good and bad here.
    Expected a little more, but it's alright.
""")


def service(profile_type: str, digital: bool) -> Service:
    """Return the bank that suits a profile type. Brands ship parcels or serve online."""
    if profile_type == "creator":
        return _PAGE
    if profile_type == "local_business":
        return _VISIT
    return _DIGITAL if digital else _PARCEL
