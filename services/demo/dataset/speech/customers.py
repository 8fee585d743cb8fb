"""The customers of a brand, who buy and unpack, and of a local business, who visit."""

from __future__ import annotations

from services.demo.dataset.banks import lines
from services.demo.dataset.speech.voice import Voice

_CUSTOMER_POS = lines("""
    is excellent
    is better than I expected
    is spot on
    won me over
    is exactly as described
    surprised me in a good way
    could not be better
    is what sold me
    is top notch
    makes all the difference
    is worth the money alone
    is a real strength
    is better than anywhere else
    is a big plus
    impressed me most
""")
_CUSTOMER_NEG = lines("""
    is a letdown
    is a joke for that money
    really needs work
    was not as promised
    is worse than last time
    put me off completely
    was the biggest disappointment
    is below average
    is nowhere near good enough
    let me down
    was a real problem
""")
_CUSTOMER_MID = lines("""
    is okay
    is about what I expected
    is fine, nothing more
    is average
    is hit or miss
    is neither great nor bad
    takes some getting used to
    depends on what you need
    could go either way
""")

_CUSTOMER_SHORT = lines("""
    Love this ❤️
    Need it 😍
    Take my money
    So good
    Beautiful work 👏
    Obsessed
    Yes yes yes
    Well done, team 🙌
    Finally! 🔥
    My favourite
    Looks amazing
    Perfect timing 🙏
    On my list ✨
    The {name} is a must 👌
    The {name}!! 😍
    Team {name} 🙌
    {who_cap} needs to see the {name}
    Best {ref} ever
    Love this {ref}
    What a {ref} ❤️
    The {aspect} 😍
    That {aspect} though 🔥
    Obsessed with the {aspect}
    Perfect {aspect} ✨
""")

BUYER = Voice(
    open_pos=lines("""
        Really happy with this.
        Bought on a whim, zero regrets.
        Had high hopes and they were met.
        Second order from this shop.
        Took me {span} to decide and I should have done it sooner.
        Didn't know I needed this.
        Recommended by {who}.
        Very pleased.
        Exactly what I was looking for.
        I rarely write these, but credit where it's due.
        Loyal customer here.
        You've done it again.
        Absolutely worth it.
        Great stuff.
        New customer and already a fan.
    """),
    open_neg=lines("""
        Very disappointed.
        I wanted to love this.
        Not impressed.
        Loved the brand until now.
        Sad to write this.
        Not worth it.
        Sorry, but this isn't good.
        I expected better from you.
        After {span} I've had enough.
        Buyer beware.
    """),
    close_pos=lines("""
        Would buy again.
        Highly recommended.
        Thank you!
        Keep doing what you do.
        {who_cap} is ordering one too.
        Will be back for more.
        Five stars from {land}.
        Very happy customer.
        Great value too.
        Can't fault it.
        Worth every cent.
        Already eyeing the next one.
        Please never stop making it.
    """),
    close_neg=lines("""
        Won't order again.
        Please fix this.
        I want my money back.
        Save your money.
        Still waiting for an answer.
        Not what I paid for.
        Expected more at this price.
        Such a shame.
        Please get in touch.
        Looking for an alternative now.
        I've sent three e-mails.
    """),
    aspect_pos=_CUSTOMER_POS,
    aspect_neg=_CUSTOMER_NEG,
    aspect_mid=_CUSTOMER_MID,
    aspect_ask=lines("""
        can you tell me more about the {aspect}?
        has the {aspect} changed since last year?
        is there a picture that shows the {aspect}?
        how is the {aspect} after {span}?
        could someone describe the {aspect}?
        what do other people think of the {aspect}?
        is the {aspect} the same for every {ref}?
    """),
    short_pos=_CUSTOMER_SHORT,
)

VISITOR = Voice(
    open_pos=lines("""
        What a lovely place.
        Been a regular for {span}.
        First visit and certainly not the last.
        So glad I found this {place}.
        Recommended by {who}.
        Can't say enough good things.
        Best {place} in town.
        A real gem.
        Went on {day}, quick note of thanks.
        I drive past two others to get here.
        Friendly from the first phone call.
        Wonderful team.
        Exactly what this neighbourhood needed.
        Great experience.
        We love it here.
    """),
    open_neg=lines("""
        Very disappointed.
        Used to be so much better.
        Sadly not a good visit.
        I don't normally complain.
        What happened to this {place}?
        Went on {day} and regretted it.
        Not again.
        I wanted to support a local {place}, but no.
        Poor experience.
        Tried to sort it out in person first.
    """),
    close_pos=lines("""
        Will be back.
        Highly recommended.
        Thank you, {staff}!
        See you next month.
        Ask for {staff}!
        Worth the trip.
        {who_cap} is coming along next time.
        Support your local {place}!
        Keep up the good work.
        Fair prices too.
        Couldn't be happier.
        Five stars.
        Already booked again.
        You can tell they love what they do.
    """),
    close_neg=lines("""
        Won't be back.
        There are better places nearby.
        Nobody apologised.
        I'd like a refund.
        Please call me back.
        A shame, really.
        Not worth the money.
        Management should look into this.
        Went elsewhere in the end.
        I hope somebody reads this.
        Lost a regular.
    """),
    aspect_pos=(
        *_CUSTOMER_POS,
        *lines("""
        is the best in the area
        is always great here
        is one reason why we come
    """),
    ),
    aspect_neg=(
        *_CUSTOMER_NEG,
        *lines("""
        is not what it used to be
        spoiled our visit
    """),
    ),
    aspect_mid=_CUSTOMER_MID,
    aspect_ask=lines("""
        can you tell me more about the {aspect}?
        how is the {aspect} on {day}?
        is the {aspect} any different in the evening?
        has the {aspect} changed since last year?
        could someone describe the {aspect}?
        what can you say about the {aspect} for first-timers?
    """),
    short_pos=(
        *_CUSTOMER_SHORT,
        *lines("""
        Best team in town 🙌
        See you on {day} ❤️
        {staff} is the best 👏
        My favourite {place}
    """),
    ),
)
